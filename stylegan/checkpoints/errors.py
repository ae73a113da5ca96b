"""The one error that comes out of a checkpoint file."""

from ...runtime.errors import DataError


class CheckpointError(DataError):
    """A checkpoint cannot be used (exit code 1): the message names the file, what was found in it and what to do."""
