"""Several data sets as one, on labels that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..runtime.errors import UsageError
from .face_set import FaceSet
from .labels import canonical_label, house_order, parse_labels


def merge(sets: Sequence[FaceSet], labels: str | Sequence[str] | None = None) -> FaceSet:
    """Put data sets together, one after the other.

    Args:
        sets: at least one.
        labels: the classes of the result, in order: names; a name of :data:`fergan.data.labels.NAMED`; ``all`` for
            every class of any set; None for the classes that all sets have. Rows of other classes are left out. The
            eighth class is added to FER2013 by ``merge([fer2013, embarrassed], "embarrassed")``.

    Returns:
        The rows that remain. With several sets ``names`` and ``subjects`` begin with the number of their set
        (``2/S010``), so that two sets' names never meet. ``official`` only if it holds for every set. ``record`` holds
        each set's own and, in ``left_out``, how many rows of which label each lost. A single set with the same labels
        comes back as it is.

    Raises:
        UsageError: the sets have no class in common, or no row has one of the labels asked for.
    """
    if not sets:
        raise UsageError("no data set to merge; give at least one")
    wanted = _wanted(sets, labels)
    if len(sets) == 1 and wanted == sets[0].label_names:
        return sets[0]
    parts = [_on(faces, wanted) for faces in sets]
    left_out = [_lost(faces, wanted) for faces in sets]
    if not any(len(part) for part in parts):
        raise UsageError(f"no face has one of the labels {', '.join(wanted)}; the sets have {_have(sets)}")
    if len(sets) == 1:
        (only,) = parts
        record = {**only.record, "left_out": {**only.record.get("left_out", {}), **left_out[0]}}
        return replace(only, record=record)
    numbers = range(1, len(parts) + 1)
    subjects = [
        np.full(len(part), "", dtype="<U1")
        if part.subjects is None
        else np.array([f"{number}/{who}" if who else "" for who in part.subjects.tolist()], dtype=str)
        for number, part in zip(numbers, parts, strict=True)
    ]
    names = [
        np.array([f"{number}/{name}" for name in part.row_names().tolist()], dtype=str)
        for number, part in zip(numbers, parts, strict=True)
    ]
    return FaceSet(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        usage=np.concatenate([part.usage for part in parts]),
        label_names=wanted,
        names=np.concatenate(names),
        subjects=np.concatenate(subjects),
        official=all(part.official for part in parts),
        record={"sets": [dict(faces.record) for faces in sets], "left_out": left_out},
        origins=np.concatenate(
            [np.full(len(part), None, object) if part.origins is None else part.origins for part in parts]
        ),
    )


def _wanted(sets: Sequence[FaceSet], labels: str | Sequence[str] | None) -> tuple[str, ...]:
    if labels is None or labels == "all":
        every = dict.fromkeys(name for faces in sets for name in faces.label_names)
        common = [name for name in every if labels or all(name in faces.label_names for faces in sets)]
        if not common:
            raise UsageError(
                f"the sets have no label in common ({_have(sets)}); name the labels to keep, or 'all' for every one"
            )
        return house_order(common)
    wanted = parse_labels(labels) if isinstance(labels, str) else tuple(map(canonical_label, labels))
    if len(set(wanted)) != len(wanted) or not all(wanted):
        raise UsageError(f"labels {', '.join(wanted)}: each must be named once")
    unknown = [name for name in wanted if not any(name in faces.label_names for faces in sets)]
    if unknown:
        raise UsageError(f"label {unknown[0]!r} is in none of the sets; they have {_have(sets)}")
    return wanted


def _on(faces: FaceSet, wanted: tuple[str, ...]) -> FaceSet:
    index = np.array([wanted.index(name) if name in wanted else -1 for name in faces.label_names], dtype=np.int64)
    labels = index[faces.labels]
    kept = faces.take(labels >= 0)
    return replace(kept, labels=labels[labels >= 0], label_names=wanted, names=faces.row_names()[labels >= 0])


def _lost(faces: FaceSet, wanted: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(faces.labels, minlength=len(faces.label_names)).tolist()
    return {name: n for name, n in zip(faces.label_names, counts, strict=True) if name not in wanted and n}


def _have(sets: Sequence[FaceSet]) -> str:
    return "; ".join(", ".join(faces.label_names) for faces in sets)
