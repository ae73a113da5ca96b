"""Batches of a training: shuffled and augmented by its seed, repeatable from any epoch on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.face_set import FaceSet, role
from ...data.labels import FERPLUS
from ...data.readers.ferplus import ferplus_targets
from ...runtime.distributed import rank, world_size
from ...runtime.errors import DataError
from ...runtime.files import make_folder, npz_bytes, read_npz, write_atomically
from ..backend import keras
from ..classifier import Classifier
from ..recipes import TrainingSettings
from .augmentation import augment


def with_voted_labels(faces: FaceSet, votes: np.ndarray, mode: str) -> tuple[FaceSet, np.ndarray]:
    """Faces under FER+'s eight labels, for the modes of votes that replace the labels.

    Args:
        faces: N rows.
        votes: float32 [N, 10], see :func:`fergan.data.readers.ferplus.read_ferplus`.
        mode: one of :data:`fergan.data.labels.FERPLUS_MODES`.

    Returns:
        The rows that the mode keeps, and their votes. Training rows are labelled by the label with most of the mode's
        target; the others by the majority of votes, and are left out without one: what is measured does not depend on
        the mode.
    """
    targets, kept = ferplus_targets(votes, "crossentropy" if mode == "probability" else mode)
    majority, clear = ferplus_targets(votes, "majority")
    fitted = role(faces.usage) == "train"
    labels = np.where(fitted, targets.argmax(axis=1), majority.argmax(axis=1)).astype(np.int64)
    rows = np.where(fitted, kept, clear)
    record = {**faces.record, "votes": {"mode": mode, "left_out": int((~rows).sum())}}
    changed = dataclasses.replace(faces, labels=labels, label_names=FERPLUS, record=record)
    return changed.take(rows), votes[rows]


class Batches(keras.utils.PyDataset):
    """A batch is a pure function of seed, epoch and position, so a resume repeats it; of several processes each has its
    share of every batch. ``votes`` are float32 [N, 10]; a ``teacher`` is its probabilities, float32 [N, K], or a
    classifier that judges every batch as the student sees it, changed and mixed (Beyer et al. 2022, arXiv:2106.05237);
    what it says of an epoch that comes again is kept in ``folder``, for a resume too.

    Raises:
        DataError: a mode of votes that replaces the labels, and faces that do not have FER+'s
            (:func:`with_voted_labels`).
    """

    def __init__(
        self,
        faces: FaceSet,
        votes: np.ndarray | None,
        settings: TrainingSettings,
        device: str = "cpu",
        teacher: np.ndarray | Classifier | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.device, self.folder = settings, torch.device(device), folder
        self.images = torch.from_numpy(faces.images)[:, None].to(self.device)
        self.votes = votes
        self.by_votes = votes is not None and settings.votes_mode != "auxiliary"
        if self.by_votes and faces.label_names != FERPLUS:
            raise DataError(
                f"votes_mode {settings.votes_mode} trains FER+'s labels, not {', '.join(faces.label_names)}"
            )
        self.targets = []
        self.has_votes = None
        self.teacher = teacher if isinstance(teacher, Classifier) else None
        self.remembered: dict[int, list[np.ndarray]] = {}
        """The teacher's answers to the first batches, or all, of an epoch that comes again."""
        if not self.by_votes:
            classes = len(faces.label_names)
            one_hot = torch.nn.functional.one_hot(torch.from_numpy(faces.labels), classes).float()
            targets = self._smooth(one_hot)
            self.targets.append(self._taught(targets, teacher) if isinstance(teacher, np.ndarray) else targets)
        if votes is not None and not self.by_votes:
            self.targets.append(torch.from_numpy(votes).float().to(self.device))
            self.has_votes = (self.targets[1].sum(dim=1) > 0).float()
        self.epoch = -1
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Everything random from here on belongs to this epoch."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        if self.teacher is not None and self.settings.teacher_cycle:
            epoch %= self.settings.teacher_cycle
        self.drawn = epoch
        self.order = torch.from_numpy(np.random.default_rng((self.settings.seed, epoch)).permutation(len(self.images)))
        if self.votes is not None and self.by_votes and (self.settings.votes_mode == "probability" or not self.targets):
            seed = int(np.random.SeedSequence((self.settings.seed, epoch, 1)).generate_state(1)[0])
            drawn, _ = ferplus_targets(self.votes, self.settings.votes_mode, seed)
            self.targets = [self._smooth(torch.from_numpy(drawn))]

    def __len__(self) -> int:
        return len(self.images) // self.settings.batch_size or 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        size = self.settings.batch_size
        rows = self.order[index * size : (index + 1) * size][rank() :: world_size()].to(self.device)
        state = np.random.SeedSequence((self.settings.seed, self.drawn, index, rank())).generate_state(1)
        generator = torch.Generator(self.device).manual_seed(int(state[0]))
        images, targets = augment(
            self.images[rows].float(), [target[rows] for target in self.targets], self.settings.augmentation, generator
        )
        if self.teacher is not None:
            targets[0] = self._taught(targets[0], self._answers(self.teacher, images, index))
        images = images.permute(0, 2, 3, 1)
        if self.has_votes is None:
            return images, targets[0]
        return (
            images,
            {"expression": targets[0], "votes": targets[1]},
            {"expression": torch.ones(len(rows), device=self.device), "votes": self.has_votes[rows]},
        )

    def _answers(self, teacher: Classifier, images: torch.Tensor, index: int) -> np.ndarray:
        again = bool(self.settings.teacher_cycle)
        known = self._remembered() if again else []
        if index < len(known):
            return known[index]
        answers = teacher.predict(images[:, 0].round().to(torch.uint8).cpu().numpy())
        if again and index == len(known):
            known.append(answers)
            if self.folder is not None and len(known) == len(self):
                make_folder(self.folder)
                write_atomically(self._answers_file, npz_bytes(answers=np.stack(known)))
        return answers

    def _remembered(self) -> list[np.ndarray]:
        if self.drawn not in self.remembered:
            kept = self.folder is not None and self._answers_file.exists()
            self.remembered[self.drawn] = list(read_npz(self._answers_file)["answers"]) if kept else []
        return self.remembered[self.drawn]

    @property
    def _answers_file(self) -> Path:
        assert self.folder is not None
        return self.folder / f"epoch{self.drawn + 1}.process{rank() + 1}of{world_size()}.npz"

    def _taught(self, targets: torch.Tensor, answers: np.ndarray) -> torch.Tensor:
        """The targets with the teacher's share of its probabilities, softened, in them."""
        soft = torch.from_numpy(answers).float().clamp(min=1e-7) ** (1 / self.settings.teacher_temperature)
        return torch.lerp(targets, (soft / soft.sum(dim=1, keepdim=True)).to(targets), self.settings.teacher_weight)

    def _smooth(self, targets: torch.Tensor) -> torch.Tensor:
        share = self.settings.label_smoothing
        return (targets * (1 - share) + share / targets.shape[1]).to(self.device)


def validation_data(faces: FaceSet, votes: np.ndarray | None, settings: TrainingSettings) -> tuple[Any, ...]:
    """The validation rows as ``fit`` takes them: plain faces, one-hot labels, and the votes of a second head."""
    images = faces.images[..., None].astype(np.float32)
    one_hot = np.eye(len(faces.label_names), dtype=np.float32)[faces.labels]
    if votes is None or settings.votes_mode != "auxiliary":
        return images, one_hot
    has_votes = (votes.sum(axis=1) > 0).astype(np.float32)
    return (
        images,
        {"expression": one_hot, "votes": votes},
        {"expression": np.ones(len(images), np.float32), "votes": has_votes},
    )
