"""How far the labels depend on how a face is cut out and shrunk: the same faces, judged in several ways.

`fergan report --sensitivity` judges a sample of a run's faces again under each crop and each filter, and keeps the
labels in the run folder; here they are checked and compared, pair by pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....runtime.errors import DataError
from ..arrays import Ints
from ..shares import LabelShares, label_shares
from .comparison import PairedComparison, compare_paired

FORMAT = 1
_MOST_FACES = 100_000
_DISTANCES = ("distances", "validation_distances")


@dataclass(frozen=True)
class Variant:
    """One way to prepare a face: `crop` and `filter` by name, the share of each label, and the change from the run's
    own way (None for that itself). `missed` faces were not found by the detector and judged whole."""

    crop: str
    filter: str
    shares: LabelShares
    change: PairedComparison | None
    missed: int


@dataclass(frozen=True)
class PreparationSensitivity:
    """All variants, the run's own first, on `n` faces of the run; `largest` is the greatest share of faces whose label
    changes. `distances` [n] are the faces' distances to the classifier's training faces and `validation_distances` [M]
    those of its validation faces; None where the classifier comes without that."""

    variants: tuple[Variant, ...]
    n: int
    distances: tuple[float, ...] | None = None
    validation_distances: tuple[float, ...] | None = None

    @property
    def largest(self) -> float:
        return max((variant.change.changed / self.n for variant in self.variants if variant.change), default=0.0)


def preparation_record(
    model_sha256: str,
    classes: Sequence[str],
    faces: Sequence[str],
    variants: Any,
    distances: tuple[Sequence[float], Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Record for the run folder: the labels of each variant as class numbers, the run's own variant first.

    Args:
        model_sha256: of the classifier.
        classes: its K labels.
        faces: names of the N faces.
        variants: dicts with `crop`, `filter`, `codes` (N class numbers) and `missed`.
        distances: of the N faces, and of the M validation faces, to the training faces; None where not known.
    """
    measured = {}
    if distances is not None:
        measured = {name: [round(d, 4) for d in values] for name, values in zip(_DISTANCES, distances, strict=True)}
    return {
        "format": FORMAT,
        "model_sha256": model_sha256,
        "labels": list(classes),
        "faces": list(faces),
        "variants": list(variants),
        **measured,
    }


def read_preparation(record: Any, classes: Sequence[str], model_sha256: object) -> PreparationSensitivity:
    """Check a record of :func:`preparation_record` and compare its variants.

    Raises:
        DataError: it is not such a record, or of another classifier.
    """
    if not isinstance(record, Mapping) or record.get("format") != FORMAT:
        raise DataError(f"is not a record of format {FORMAT}")
    if record.get("labels") != list(classes) or record.get("model_sha256") != model_sha256:
        raise DataError("was made with another classifier")
    faces, listed = record.get("faces"), record.get("variants")
    if not isinstance(faces, list) or not 0 < len(faces) <= _MOST_FACES or not isinstance(listed, list) or not listed:
        raise DataError("names no faces or no variants")
    parsed = [_parsed(entry, len(faces), len(classes)) for entry in listed]
    own = parsed[0][2]
    return PreparationSensitivity(
        tuple(
            Variant(
                crop,
                name,
                label_shares(codes, classes),
                None if index == 0 else compare_paired(own, codes, classes),
                missed,
            )
            for index, (crop, name, codes, missed) in enumerate(parsed)
        ),
        len(faces),
        *_distances(record, len(faces)),
    )


def _distances(record: Mapping[str, Any], n: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if not any(name in record for name in _DISTANCES):
        return None, None
    try:
        own, expected = (np.asarray(record[name], np.float64) for name in _DISTANCES)
        if own.shape != (n,) or expected.ndim != 1 or not (np.isfinite(own).all() and np.isfinite(expected).all()):
            raise ValueError("distances")
    except (TypeError, KeyError, ValueError) as error:
        raise DataError("holds distances that are not one number for each face") from error
    return tuple(own.tolist()), tuple(expected.tolist())


def _parsed(entry: Any, n: int, k: int) -> tuple[str, str, Ints, int]:
    try:
        codes = np.asarray(entry["codes"], np.int64)
        if codes.shape != (n,) or codes.min() < 0 or codes.max() >= k:
            raise ValueError("codes")
        return str(entry["crop"]), str(entry["filter"]), codes, int(entry.get("missed", 0))
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
        raise DataError("holds a variant without a label for each face") from error
