"""What readers of model files raise when they hand a file on to Keras."""


class Untranslatable(Exception):
    """A file or a layer that only Keras itself can judge; the message says which and why."""
