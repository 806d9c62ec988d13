"""The error every part of pyqrt raises for what its user can mend."""


class ModelError(ValueError):
    """A bad argument, file or request. The message names the input, the limit and the remedy."""
