"""A strict stand-in of Nuke: the ``nuke`` module, scripts, rendering and the main loop, as far as the node uses them.

What Nuke does not know (an attribute, a node class, a knob, a value, a Tcl command), or does not allow (nodes
touched by a child thread, ``executeInMainThread`` from the main thread, a main thread that waits), is noted as a
violation besides being an error, so that code which swallows the error fails its test all the same.
"""

from nuke_standin.host import Host

__all__ = ["Host"]
