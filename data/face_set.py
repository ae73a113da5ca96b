"""Labelled faces in memory: what every reader of a data set returns and every training takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPLITS = ("Training", "PublicTest", "PrivateTest")
"""The splits of FER2013. Rows of these names come from FER2013 as published; other sets use :data:`OWN_SPLITS`."""

OWN_SPLITS = ("train", "validation", "test")
"""Names of all other splits, published or made, so that no score on them can pass for one on PrivateTest."""


@dataclass(frozen=True)
class FaceSet:
    """Labelled faces held in memory.

    Attributes:
        images: uint8 [N, 48, 48], gray, 0..255.
        labels: int64 [N], indices into ``label_names``.
        usage: str [N], the split of each row: one of :data:`SPLITS`, one of :data:`OWN_SPLITS`, or empty where the set
            has no split.
        label_names: the class names, in the order of the indices.
        names: str [N], the file or row that each face came from; None: rows are called by their number.
        subjects: str [N], who is seen, empty where that is unknown; None: unknown for all.
        official: whether ``usage`` is the split that the set's authors published.
        record: where the faces come from and what was done to them, as plain JSON values: ``path``, ``layout``,
            ``preparation`` (see :class:`fergan.data.faces.Preparation`), ``notes`` and the like.
        origins: objects [N], the picture of each face (:class:`fergan.data.origins.Origin`), None for one that came as
            48x48 pixels; None: for all.
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    label_names: tuple[str, ...]
    names: np.ndarray | None = None
    subjects: np.ndarray | None = None
    official: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    origins: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def split(self, usage: str) -> FaceSet:
        """The rows of one split, in their original order."""
        return self.take(self.usage == usage)

    def take(self, rows: np.ndarray) -> FaceSet:
        """Some rows, by a mask or by indices."""
        return dataclasses.replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            usage=self.usage[rows],
            names=None if self.names is None else self.names[rows],
            subjects=None if self.subjects is None else self.subjects[rows],
            origins=None if self.origins is None else self.origins[rows],
        )

    def row_names(self) -> np.ndarray:
        """str [N]: :attr:`names`, or ``row 0``, ``row 1`` ... where there are none."""
        return np.array([f"row {row}" for row in range(len(self))]) if self.names is None else self.names

    def label_texts(self) -> np.ndarray:
        """str [N]: the label of each row by name."""
        return np.array(self.label_names)[self.labels]


def role(usage: np.ndarray) -> np.ndarray:
    """Tell what the rows of each split are for, whatever their set calls it.

    Returns:
        str [N]: ``train`` (Training), ``validation`` (PublicTest), ``test`` (PrivateTest), or empty without a split.
    """
    roles = dict(zip((*SPLITS, *OWN_SPLITS), OWN_SPLITS * 2, strict=True))
    return np.array([roles.get(name, "") for name in usage.tolist()], dtype="<U10")


def class_counts(faces: FaceSet) -> dict[str, dict[str, int]]:
    """Rows of each class in each split, splits as the data call them: ``{"Training": {"angry": 3995, ...}, ...}``."""
    counts: dict[str, dict[str, int]] = {}
    present = dict.fromkeys([*SPLITS, *faces.usage.tolist()])
    for usage in present:
        of = np.bincount(faces.labels[faces.usage == usage], minlength=len(faces.label_names)).tolist()
        if any(of):
            counts[usage or "no split"] = dict(zip(faces.label_names, of, strict=True))
    return counts


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Faces by true class (rows) and predicted class (columns), int64 [K, K], from labels int [N]."""
    pairs = np.asarray(labels, np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
