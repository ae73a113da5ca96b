"""Event files for TensorBoard, written without loading TensorFlow."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def summary_writer(folder: str | Path, first: int) -> SummaryWriter:
    """A writer of scalars and pictures; ``close`` it. TensorFlow would take seconds, and print lines of its own.

    Args:
        folder: receives the event files.
        first: what stopped processes wrote of this step and later ones is void.
    """
    # TensorBoard's own switch for doing without
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first)
