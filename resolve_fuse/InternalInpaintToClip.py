"""Workspace > Scripts > InternalInpaintToClip: add the node to the current clip, or bring in its finished frames.

The first time you run it, it adds a Fusion comp with the node to the clip under the playhead. Once the node has
trained, it puts the finished frames on a new track above the clip. The code is in
plugin/internal_inpaint_plugin/fusion_node.py.
"""

import os
import sys


def scripts_folders():
    """The folders of Resolve's path map: Resolve does not tell a menu script where its file is."""
    for name in ("fusion", "fu", "app"):
        try:
            mapped = globals()[name].MapPath("Scripts:")
        except Exception:  # missing, or a host with another API
            continue
        for folder in str(mapped or "").split(";"):
            if folder.strip():
                yield os.path.normpath(folder.strip())


def folders():
    """Folders that may hold the host-side package: $INTERNAL_INPAINT_PLUGIN, beside this script, in a checkout."""
    yield os.environ.get("INTERNAL_INPAINT_PLUGIN", "")
    own = globals().get("__file__")
    if own:
        here = os.path.dirname(os.path.abspath(own))
        yield here
        yield os.path.join(os.path.dirname(here), "plugin")
    for folder in scripts_folders():
        yield os.path.join(folder, "plugin")
        yield os.path.join(folder, "Utility")


for folder in folders():
    if os.path.isdir(os.path.join(folder, "internal_inpaint_plugin")) and folder not in sys.path:
        sys.path.insert(0, folder)

try:
    from internal_inpaint_plugin import fusion_node
except ImportError:
    print(
        "Internal Inpaint: the package internal_inpaint_plugin cannot be found: run `internal-inpaint install "
        "resolve`, or set INTERNAL_INPAINT_PLUGIN to the folder that holds the package",
        file=sys.stderr,
    )
else:
    # Resolve defines the global `resolve` for scripts of its own menu.
    fusion_node.main(globals().get("resolve"))
