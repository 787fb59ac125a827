"""Nuke runs this file at its start, in a render too. An error here prints one line and never stops Nuke."""


def _internal_inpaint():
    import os
    import sys

    import nuke

    try:
        here = os.path.dirname(os.path.abspath(__file__))
    except NameError:
        found = [p for p in nuke.pluginPath() if os.path.isfile(os.path.join(p, "InternalInpaint.gizmo"))]
        here = found[0] if found else os.getcwd()
    # Installed: beside this file. In the repository: in plugin/. Otherwise: on PYTHONPATH.
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
    # Python 2 syntax only: an old Nuke must be able to run this line.
    print("Internal Inpaint: the node cannot train here (" + type(error).__name__ + ": " + str(error) + ")")
