"""How far the labels depend on how a face is cut out and shrunk: the same faces, judged in several ways.

`fergan report --sensitivity` judges a sample of a run's faces again under each crop and each filter, and keeps the
labels in the run folder; here they are checked and compared, pair by pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.errors import DataError
from .comparison_tests import PairedComparison, compare_paired
from .statistics import Ints, LabelShares, label_shares

FORMAT = 1
_MOST_FACES = 100_000


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
    changes."""

    variants: tuple[Variant, ...]
    n: int

    @property
    def largest(self) -> float:
        return max((variant.change.changed / self.n for variant in self.variants if variant.change), default=0.0)


def preparation_record(model_sha256: str, classes: Sequence[str], faces: Sequence[str], variants: Any) -> dict:
    """What is kept in the run folder: the labels of each variant as class numbers, the run's own variant first.

    Args:
        model_sha256: of the classifier.
        classes: its K labels.
        faces: names of the N faces.
        variants: dicts with `crop`, `filter`, `codes` (N class numbers) and `missed`.
    """
    return {
        "format": FORMAT,
        "model_sha256": model_sha256,
        "labels": list(classes),
        "faces": list(faces),
        "variants": list(variants),
    }


def read_preparation(record: Any, classes: Sequence[str], model_sha256: object) -> PreparationSensitivity:
    """Check a record and compare its variants.

    Args:
        record: JSON values as :func:`preparation_record` makes them.
        classes: labels of the run.
        model_sha256: of the classifier that labelled the run.

    Raises:
        DataError: it is no such record, or of another classifier.
    """
    if not isinstance(record, Mapping) or record.get("format") != FORMAT:
        raise DataError(f"is no record of format {FORMAT}")
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
    )


def _parsed(entry: Any, n: int, k: int) -> tuple[str, str, Ints, int]:
    try:
        codes = np.asarray(entry["codes"], np.int64)
        if codes.shape != (n,) or codes.min() < 0 or codes.max() >= k:
            raise ValueError("codes")
        return str(entry["crop"]), str(entry["filter"]), codes, int(entry.get("missed", 0))
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
        raise DataError("holds a variant without a label for each face") from error
