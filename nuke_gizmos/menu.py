"""Run by Nuke's window at its start: the node's menu. Whatever is wrong here, Nuke starts."""


def _internal_inpaint_menu():
    import nuke

    menu = nuke.menu("Nodes").addMenu("Internal Inpaint", icon="InternalInpaint.png")
    try:
        import internal_inpaint_plugin.nuke_node  # noqa: F401
    except Exception as error:
        reason = type(error).__name__ + ": " + str(error)
        print("Internal Inpaint: its Python package cannot be used (" + reason + ")")
        said = "Internal Inpaint's Python package, internal_inpaint_plugin, cannot be used (" + reason + "). "
        said += "Put it beside InternalInpaint.gizmo, or on PYTHONPATH; `internal-inpaint install nuke` does so."
        menu.addCommand("Not installed completely", lambda: nuke.message(said))
        return
    menu.addCommand("Internal Inpaint", "nuke.createNode('InternalInpaint')", icon="InternalInpaint.png")


try:
    _internal_inpaint_menu()
except BaseException as error:
    print("Internal Inpaint: no menu (" + type(error).__name__ + ": " + str(error) + ")")
