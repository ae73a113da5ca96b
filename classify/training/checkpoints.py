"""What a training goes on from: files that are whole, and epochs of which everything is on the disk."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd

from ...runtime.distributed import rank
from ...runtime.errors import DataError
from ...runtime.files import make_folder, printable, write_atomically, writing
from ..backend import keras
from ..recipes import TrainingSettings

BACKUP, BEST_WEIGHTS, LOG = "backup", "best.weights.h5", "log.csv"


class Backup(keras.callbacks.Callback):
    """The state after each epoch, with the number of epochs done in its name, so that both appear at once.

    It is written as the next epoch begins. By then an epoch's best weights and its log are on the disk, and the raw
    weights are in the place of the averaged ones; so this stands after their swap.

    Args:
        folder: of the training.
        done: epochs that are done, see :func:`resume`.
    """

    def __init__(self, folder: Path, done: int) -> None:
        super().__init__()
        self.folder, self.done = folder / BACKUP, done

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.done:
            load_whole(self.model, self.folder / f"{self.done}.weights.h5", "delete it to begin this training again")
            self.model._initial_epoch = self.done

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch > self.done and rank() == 0:
            save_whole(self.model, self.folder / f"{epoch}.weights.h5", self.folder)
            (self.folder / f"{epoch - 1}.weights.h5").unlink(missing_ok=True)


class Best(keras.callbacks.Callback):
    """The weights of the epoch whose score ``monitor`` is the highest."""

    def __init__(self, folder: Path, monitor: str, scores: list[float]) -> None:
        super().__init__()
        self.folder, self.monitor, self.best = folder, monitor, max(scores, default=-np.inf)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        if logs[self.monitor] > self.best:
            save_whole(self.model, self.folder / BEST_WEIGHTS, self.folder / BACKUP)
            self.best = logs[self.monitor]


def resume(folder: Path, monitor: str, settings: TrainingSettings) -> tuple[int, list[float]]:
    """How many epochs of a training are done, and their scores.

    Rows of the log about an epoch that has to be done again are taken out, unless the training is over.

    Raises:
        DataError: an older fergan began it, or the log is damaged.
    """
    if (folder / BACKUP / "latest.weights.h5").exists():
        raise DataError(f"{printable(folder)}: holds a training that an older fergan began; give another --out")
    done = max((int(file.name.partition(".")[0]) for file in (folder / BACKUP).glob("[0-9]*.weights.h5")), default=0)
    log = folder / LOG
    if not log.exists():
        return done, []
    lines = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    if not is_over(_scores(log, lines, monitor), settings):
        lines = lines[: done + 1]
    if rank() == 0:
        write_atomically(log, b"".join(lines))
    return done, _scores(log, lines, monitor)


def is_over(scores: list[float], settings: TrainingSettings) -> bool:
    """Whether all epochs are done, or the best one is ``patience`` epochs ago."""
    waited = len(scores) - 1 - int(np.argmax(scores)) if scores else 0
    return len(scores) >= settings.epochs or (bool(scores) and waited >= settings.patience)


def read_scores(log: Path, column: str) -> list[float]:
    """One column of ``log.csv``; empty before the first epoch."""
    return _scores(log, [log.read_bytes()] if log.exists() else [], column)


def _scores(log: Path, lines: list[bytes], column: str) -> list[float]:
    try:
        return [float(value) for value in pd.read_csv(io.BytesIO(b"".join(lines))).get(column, [])]
    except pd.errors.EmptyDataError:
        return []
    except ValueError as error:
        raise DataError(f"{printable(log)}: is damaged ({printable(error)}); give another --out") from error


def save_whole(model: keras.Model, path: Path, drafts: Path) -> None:
    """Write weights under a name that they take when they are complete; ``drafts`` is a folder on the same disk.

    Raises:
        DataError: they cannot be written.
    """
    draft = make_folder(drafts) / "draft.weights.h5"  # of this ending, or Keras refuses it
    with writing(path):
        model.save_weights(draft, overwrite=True)
        os.replace(draft, path)


def load_whole(model: keras.Model, path: Path, advice: str) -> None:
    """Read weights back. Raises a DataError, which ends with ``advice``, where they are missing or damaged."""
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{printable(path)}: cannot be read ({printable(error)}); {advice}") from error
