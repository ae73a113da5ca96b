"""The version of fergan, which ``setup.cfg``, the command line and everything that is written down take from here."""

__version__ = "0.1.0"
