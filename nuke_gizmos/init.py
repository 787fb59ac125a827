"""Run by Nuke at its start, in a render too. Whatever is wrong here, Nuke starts: it ends as one printed line."""


def _internal_inpaint():
    import os
    import sys

    import nuke

    try:
        here = os.path.dirname(os.path.abspath(__file__))
    except NameError:
        found = [p for p in nuke.pluginPath() if os.path.isfile(os.path.join(p, "InternalInpaint.gizmo"))]
        here = found[0] if found else os.getcwd()
    # As installed: beside this file. As in the repository: in plugin/. Else from PYTHONPATH.
    for place in (here, os.path.join(here, "plugin"), os.path.join(os.path.dirname(here), "plugin")):
        if os.path.isfile(os.path.join(place, "internal_inpaint_plugin", "__init__.py")):
            if place not in sys.path:
                sys.path.insert(0, place)
            break
    from internal_inpaint_plugin import nuke_render

    nuke_render.install()


try:
    _internal_inpaint()
except BaseException as error:
    # No newer syntax than Python 2 has: an old Nuke must get as far as this line.
    print("Internal Inpaint: the node will not train here (" + type(error).__name__ + ": " + str(error) + ")")
