"""The faces that a classifier learns from and is judged on, from the files that a person names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...classify.recipes import Recipe
from ...data.audit.audit import audit, leaks_to_drop
from ...data.audit.corrections import relabel
from ...data.face_set import FaceSet, class_counts, role
from ...data.merging import merge
from ...data.readers import read_faces
from ...data.readers.ferplus import read_ferplus
from ...data.splits import split
from ...runtime.errors import UsageError


@dataclass(frozen=True)
class ClassifierOptions:
    """The options of ``fergan train classifier``; None leaves a choice to the recipe or the data.

    Attributes:
        data: one or more data sets, as :func:`fergan.data.readers.read_faces` takes them.
        recipe: a bundled recipe's name, or a TOML file.
        overrides: ``key=value`` each, for the recipe.
        classes: to merge on, see :func:`fergan.data.merging.merge`. None: those that all sets have, and the
            classes of sets that have only one, as ``embarrassed=gray.zip``.
        split: ``official`` or shares, see :func:`fergan.data.splits.split`. None: see :func:`read_training_data`.
        drop_leaks: leave out training rows that are in validation or test too.
        relabel: list of new labels, see :func:`fergan.data.audit.corrections.relabel`.
        votes: FER+'s table, where one set is fer2013.csv.
        votes_mode, precision, epochs, batch_size, learning_rate, patience, seed: of the training's settings;
            ``precision`` may be ``auto`` too.
        weights: of the model's settings.
        teacher: a classifier's name or file, whose answers are mixed into the targets.
        teacher_views: the views in which it judges, see :data:`fergan.classify.evaluation.views.VIEWS`; or
            ``student``: at every step, the very picture that the student is shown. None: ``single``.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    data: Sequence[str]
    recipe: str = "fernet"
    overrides: Sequence[str] = ()
    classes: str | None = None
    split: str | None = None
    drop_leaks: bool = False
    relabel: str | None = None
    votes: str | None = None
    votes_mode: str | None = None
    precision: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    seed: int | None = None
    weights: str | None = None
    teacher: str | None = None
    teacher_views: str | None = None
    device: str = "auto"


def read_training_data(options: ClassifierOptions, recipe: Recipe) -> tuple[FaceSet, np.ndarray | None]:
    """All data sets as one, with the splits, labels and votes that the options ask for.

    Without ``split`` each set keeps the split that it comes with; if it has no validation rows, a tenth of its training
    rows become some; if it has no split at all, it is shared out 80:10:10. All of this is in the set's ``record``.

    Returns:
        The faces, and float32 [N, 10] votes where there are any (zeros for rows without).

    Raises:
        DataError, UsageError: as the readers and steps say.
    """
    seed, mode = recipe.training.seed, recipe.training.votes_mode
    sets = [dataclasses.replace(faces, names=faces.row_names()) for faces in map(read_faces, options.data)]
    voted = _voted_set(options, sets, mode)
    votes_of: dict[str, np.ndarray] = {}
    if voted is not None and options.votes is not None:
        prefix = f"{voted + 1}/" if len(sets) > 1 else ""
        rows = read_ferplus(options.votes, sets[voted].usage)
        votes_of = {prefix + name: row for name, row in zip(sets[voted].row_names().tolist(), rows, strict=True)}
    if options.split in (None, "official"):
        sets = [with_validation(split(faces, "official") if options.split else faces, seed) for faces in sets]
    faces = merge(sets, _labels(options, sets, mode))
    if options.relabel is not None:
        faces, _ = relabel(faces, options.relabel)
    if options.split not in (None, "official"):
        faces = with_validation(split(faces, options.split, seed), seed)
    if options.drop_leaks:
        leaks = leaks_to_drop(faces, audit(faces).findings)
        keep = np.ones(len(faces), dtype=bool)
        keep[leaks["row"].to_numpy(dtype=np.int64)] = False
        faces = dataclasses.replace(faces.take(keep), record={**faces.record, "leaks_left_out": int((~keep).sum())})
    if not votes_of:
        return faces, None
    none = np.zeros(10, dtype=np.float32)
    votes = np.stack([votes_of.get(name, none) for name in faces.row_names().tolist()])
    if mode == "auxiliary":
        return faces, votes
    from ...classify.training.batches import with_voted_labels

    return with_voted_labels(faces, votes, mode)


def with_validation(faces: FaceSet, seed: int) -> FaceSet:
    """The faces with rows to train on and rows to validate by, made where there are none."""
    roles = role(faces.usage)
    if (roles == "validation").any():
        return faces
    train = np.flatnonzero(roles == "train")
    if not len(train):
        return split(faces, "80:10:10", seed) if not (roles == "test").any() else faces
    usage = faces.usage.astype("<U12")
    usage[train] = split(faces.take(train), "90:10:0", seed).usage
    record = {**faces.record, "validation": {"shares": "90:10 of the training rows", "seed": seed}}
    return dataclasses.replace(faces, usage=usage, official=False, record=record)


def data_summary(faces: FaceSet) -> str:
    """Rows of each class in each split, as a text table; what the readers noted, and classes without training rows."""
    counts = pd.DataFrame(class_counts(faces), index=list(faces.label_names))
    counts.loc["all"] = counts.sum()
    text = [counts.to_string()]
    text += [str(note) for one in faces.record.get("sets", [faces.record]) for note in one.get("notes", ())]
    fitted = np.bincount(faces.labels[role(faces.usage) == "train"], minlength=len(faces.label_names))
    missing = [name for name, count in zip(faces.label_names, fitted, strict=True) if not count]
    if missing:
        text.append(f"no training face of {', '.join(missing)}: the classifier will never answer so")
    return "\n".join(text)


def _voted_set(options: ClassifierOptions, sets: Sequence[FaceSet], mode: str) -> int | None:
    """Which of the sets the votes belong to."""
    if options.votes is None:
        if mode != "auxiliary":
            raise UsageError(f"votes mode {mode} needs FER+'s fer2013new.csv; give it as --votes")
        return None
    found = [number for number, faces in enumerate(sets) if faces.record.get("layout") == "fer2013 csv"]
    if not found:
        raise UsageError("--votes are FER+'s for the rows of fer2013.csv; give that file as --data")
    if mode != "auxiliary" and (len(sets) > 1 or options.classes not in (None, "ferplus")):
        raise UsageError(
            f"--votes-mode {mode} replaces the labels of fer2013.csv by FER+'s; give that file alone, without --classes"
        )
    return found[0]


def _labels(options: ClassifierOptions, sets: Sequence[FaceSet], mode: str) -> str | Sequence[str] | None:
    if options.votes is not None and mode != "auxiliary":
        return None  # FER2013's, until the votes replace them
    if options.classes is not None or len(sets) == 1:
        return options.classes
    several = [set(faces.label_names) for faces in sets if len(faces.label_names) > 1]
    single = {name for faces in sets if len(faces.label_names) == 1 for name in faces.label_names}
    if not several or not single:
        return "all" if single else None
    common = set.intersection(*several) | single
    order = list(dict.fromkeys(name for faces in sets for name in faces.label_names))
    return [name for name in order if name in common]
