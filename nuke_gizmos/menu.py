"""Nuke runs this file when its window starts: it adds the node's menu. An error here never stops Nuke."""


def _internal_inpaint_menu():
    import nuke

    menu = nuke.menu("Nodes").addMenu("Internal Inpaint", icon="InternalInpaint.png")
    try:
        import internal_inpaint_plugin.nuke_node  # noqa: F401
    except Exception as error:
        reason = type(error).__name__ + ": " + str(error)
        print("Internal Inpaint: its Python package cannot be used (" + reason + ")")
        said = "Internal Inpaint's Python package, internal_inpaint_plugin, cannot be used (" + reason + "). "
        said += "Run `internal-inpaint install nuke`, or put it beside InternalInpaint.gizmo or on PYTHONPATH."
        menu.addCommand("Installation is incomplete", lambda: nuke.message(said))
        return
    menu.addCommand("Internal Inpaint", "nuke.createNode('InternalInpaint')", icon="InternalInpaint.png")


try:
    _internal_inpaint_menu()
except BaseException as error:
    print("Internal Inpaint: its menu cannot be added (" + type(error).__name__ + ": " + str(error) + ")")
