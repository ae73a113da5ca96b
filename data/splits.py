"""Which rows are for training, validation and test: as published, or made anew without tearing persons apart."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..runtime.errors import UsageError
from .audit.duplicates import exact_groups
from .face_set import OWN_SPLITS, FaceSet


def split(faces: FaceSet, how: str, seed: int = 0) -> FaceSet:
    """Decide the split of every row.

    Args:
        faces: any set.
        how: ``official`` for the split that its authors published, or shares of train, validation and test such as
            ``80:10:10`` (in any unit; 0 for none).
        seed: of the shuffling.

    Returns:
        The same rows with other ``usage``. Made splits are called ``train``, ``validation`` and ``test``, never
        ``PrivateTest``. A person is in one split only, where persons are known; of the other rows, those with the same
        pixels are in one split only, and each class is shared out by itself.

    Raises:
        UsageError: ``official`` where there is none, or shares that are none.
    """
    if how == "official":
        if not faces.official:
            notes = "; ".join(faces.record.get("notes", ()))
            raise UsageError(
                f"there is no official split of this data{f' ({notes})' if notes else ''}; give shares such as 80:10:10"
            )
        return faces
    shares = _shares(how)
    rng = np.random.default_rng(seed)
    part = np.empty(len(faces), dtype=np.int64)
    subjects = np.full(len(faces), "", dtype="<U1") if faces.subjects is None else faces.subjects
    known = np.flatnonzero(subjects != "")
    if len(known):
        part[known] = _by_person(subjects[known], shares, rng)
    rest = np.flatnonzero(subjects == "")
    if len(rest):
        part[rest] = _by_class(exact_groups(faces.images[rest]), faces.labels[rest], shares, rng)
    record = {**faces.record, "split": {"shares": how, "seed": seed, "by_person": bool(len(known))}}
    return dataclasses.replace(faces, usage=np.array(OWN_SPLITS)[part], official=False, record=record)


def _shares(how: str) -> np.ndarray:
    try:
        shares = np.array([float(part) for part in how.split(":")])
    except ValueError:
        shares = np.empty(0)
    if len(shares) != 3 or not (np.isfinite(shares) & (shares >= 0)).all() or shares[0] <= 0:
        raise UsageError(f"split {how!r}: is neither 'official' nor three shares such as 80:10:10")
    return shares / shares.sum()


def _by_person(subjects: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Persons in random order, the ones with most rows first, each to the split that lacks most."""
    _, person, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    lacking = shares * len(subjects)
    of_person = np.empty(len(sizes), dtype=np.int64)
    for one in order:
        of_person[one] = lacking.argmax()
        lacking[of_person[one]] -= sizes[one]
    return of_person[person]


def _by_class(groups: np.ndarray, labels: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The groups of each class (that of their first row) in random order, cut where the shares say."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    of_group = np.empty(len(first), dtype=np.int64)
    for label in np.unique(labels[first]):
        members = rng.permutation(np.flatnonzero(labels[first] == label))
        position = (np.arange(len(members)) + 0.5) / len(members)
        of_group[members] = np.searchsorted(np.cumsum(shares)[:2], position, side="right")
    return of_group[group]
