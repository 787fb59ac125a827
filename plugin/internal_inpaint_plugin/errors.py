"""The error that hosts show to the artist."""


class PluginError(Exception):
    """One sentence for the node's message line that says what is wrong and what to do."""
