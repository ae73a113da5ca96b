"""Callbacks around the epochs of a training. Everything here is the same after a stop and a resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...runtime.distributed import rank
from ...runtime.summaries import summary_writer
from ..backend import keras
from ..recipes import TrainingSettings
from .batches import Batches
from .checkpoints import is_over
from .optimizers import LearningRate


class StartOfEpoch(keras.callbacks.Callback):
    """Makes all randomness of an epoch a function of the seed and its number, and frees the layers of its phase.

    Batches take the number as it is; dropout's random state, which a checkpoint does not hold, is set by it.
    """

    def __init__(self, batches: Batches, set_phase: Callable[[int], None], head_epochs: int) -> None:
        super().__init__()
        self.batches, self.set_phase, self.head_epochs = batches, set_phase, head_epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.start_epoch(epoch)
        if self.head_epochs:
            self.set_phase(1 if epoch < self.head_epochs else 2)
        for number, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                sequence = np.random.SeedSequence((self.batches.settings.seed, epoch, number, 2, rank()))
                generator.state.assign(sequence.generate_state(2))


class MoreLogs(keras.callbacks.Callback):
    """Adds to an epoch's logs: accuracy on training faces as they are, learning rate and seconds.

    The training accuracy that Keras shows is that on changed faces, by weights that changed during the epoch; the
    distance from validation accuracy that tells over-fitting needs the same weights and plain faces.

    Args:
        accuracy: of the model as it is, on a fixed sample of training faces.
        learning_rate: of the training.
        steps: per epoch.
    """

    def __init__(self, accuracy: Callable[[], float], learning_rate: LearningRate, steps: int) -> None:
        super().__init__()
        self.accuracy, self.learning_rate, self.steps = accuracy, learning_rate, steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.started = time.monotonic()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self.plain = self.accuracy()  # by the weights that were just validated, if this comes before their swap

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        logs["train_accuracy_plain"] = round(self.plain, 6)
        logs["learning_rate"] = self.learning_rate((epoch + 1) * self.steps - 1)
        logs["seconds"] = round(time.monotonic() - self.started, 2)


class Summaries(keras.callbacks.Callback):
    """The logs of each epoch for TensorBoard; those of training and of validation share a chart.

    Args:
        folder: receives the event files, in ``train`` and ``validation``.
        done: epochs that are done.
    """

    def __init__(self, folder: Path, done: int) -> None:
        super().__init__()
        self.folder, self.done = folder, done

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.boards = {part: summary_writer(self.folder / part, self.done + 1) for part in ("train", "validation")}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            self.boards[part].add_scalar(f"epoch/{name.removeprefix('val_')}", value, epoch + 1)
        for board in self.boards.values():
            board.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        for board in self.boards.values():
            board.close()


class EarlyStopping(keras.callbacks.Callback):
    """Stops early, and lowers the learning rate on a plateau.

    ``monitor`` is the score that should rise, and ``scores`` are those of before a resume.
    """

    def __init__(
        self, scores: list[float], monitor: str, settings: TrainingSettings, learning_rate: LearningRate
    ) -> None:
        super().__init__()
        self.scores, self.monitor, self.settings, self.learning_rate = list(scores), monitor, settings, learning_rate
        self._set_scale()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if is_over(self.scores, self.settings):
            self.model._initial_epoch = self.params["epochs"]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        self.scores.append(float(logs[self.monitor]))
        self._set_scale()
        if is_over(self.scores, self.settings):
            self.model.stop_training = True

    def _set_scale(self) -> None:
        if self.settings.schedule != "plateau":
            return
        self.learning_rate.scale, best, waited = 1.0, -np.inf, 0
        for score in self.scores:
            waited = 0 if score > best else waited + 1
            best = max(best, score)
            if waited == self.settings.decay_epochs:
                self.learning_rate.scale *= self.settings.decay
                waited = 0
