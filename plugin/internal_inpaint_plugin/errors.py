"""The one kind of failure a host shows."""


class PluginError(Exception):
    """One sentence for the node's message line: what is wrong, and what to do."""
