"""The one exception of the loader."""


class LoadError(Exception):
    """A kernel cannot be loaded; the text is one clear line for the user."""
