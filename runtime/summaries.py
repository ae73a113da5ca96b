"""Event files for TensorBoard, written without loading TensorFlow."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def summary_writer(folder: str | Path) -> SummaryWriter:
    """A writer of scalars and pictures; ``close`` it. TensorFlow would take seconds, and print lines of its own."""
    # TensorBoard's own switch for doing without
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
