"""Checkpoints of face generators: one reader a format, none of which executes anything of the file."""

from .checkpoint import Checkpoint
from .errors import CheckpointError
from .native import save_generator
from .open import convert, describe, read_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "convert", "describe", "read_checkpoint", "save_generator"]
