"""The error by which readers of model files hand a file on to Keras."""


class Untranslatable(Exception):
    """A file or a layer that only Keras itself can judge; the message says which and why."""
