"""Workspace > Scripts > InternalInpaintToClip: the node for the current clip, or its finished frames.

The first time it gives the clip under the playhead a Fusion comp with the node; once the node has trained, it
puts the finished frames on a new track above the clip. What it does is in
plugin/internal_inpaint_plugin/fusion_node.py.
"""

import os
import sys


def scripts_folders():
    """Resolve runs a script of its menu without telling it where it lies: its path map knows."""
    for name in ("fusion", "fu", "app"):
        try:
            mapped = globals()[name].MapPath("Scripts:")
        except Exception:  # not there, or a host that answers otherwise
            continue
        for folder in str(mapped or "").split(";"):
            if folder.strip():
                yield os.path.normpath(folder.strip())


def folders():
    """Where the host-side package may lie: what INTERNAL_INPAINT_PLUGIN names, beside this script, in a checkout."""
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
        "Internal Inpaint: its package internal_inpaint_plugin is not beside this script: install it again, "
        "or set INTERNAL_INPAINT_PLUGIN to the folder that holds it",
        file=sys.stderr,
    )
else:
    # Resolve gives a script of its own menu the global `resolve`.
    fusion_node.main(globals().get("resolve"))
