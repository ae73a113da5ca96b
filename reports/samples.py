"""Several sets of faces compared: aligned distributions, and how far each pair is apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from ..data.run_record.run import RunRecord
from ..data.run_record.settings import ClassifyRecord
from ..runtime.errors import DataError
from .correction import Correction, correct, missing_validation
from .formatting import NBSP, listed, printable
from .html.sprites import Face
from .selected import read_selected
from .statistics.arrays import Ints
from .statistics.correction.prevalence import Validation
from .statistics.differences.comparison import Comparison, PairedComparison, compare_counts, compare_paired, holm
from .statistics.shares import LabelShares, label_shares
from .statistics.table import LabelTable

MOST = 6
"""Runs that one page can hold: more marks are not told apart."""


@dataclass(frozen=True)
class Sample:
    """One run, or one truncation of it: `load_face` as in :func:`fergan.reports.pages.report.build_report`."""

    name: str
    table: LabelTable
    record: RunRecord
    load_face: Callable[[str], Face] | None = None
    validation: Validation | None = None


@dataclass(frozen=True)
class Pair:
    """Two samples by number, how they compare, and the p-value that holds for all pairs together (Holm)."""

    first: int
    second: int
    result: Comparison | PairedComparison
    adjusted_p: float


@dataclass(frozen=True)
class Compared:
    """All that the page says of the samples; `corrected` where every sample has labelled faces to correct by."""

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    shares: tuple[LabelShares, ...]
    corrected: tuple[Correction, ...] | None
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]

    def ranking(self) -> list[int]:
        """Class numbers from the most to the least frequent, over the samples with equal weight."""
        mean = np.mean([shares.shares for shares in self.shares], axis=0)
        return np.argsort(-mean, kind="stable").tolist()


def split_by_psi(sample: Sample) -> list[Sample]:
    """A run over several truncations as one sample each; any other run as it is."""
    psi = sample.table.psi
    if psi is None or len(np.unique(psi)) < 2:
        return [sample]
    return [
        replace(sample, name=f"{sample.name} ψ{NBSP}{value:g}", table=sample.table.where(psi == value))
        for value in np.unique(psi)
    ]


def compare_samples(samples: Sequence[Sample]) -> Compared:
    """Shares, corrected shares and all pairs of two to six samples.

    Samples of the same faces (the same seeds of the same network at two truncations, the same pictures judged in two
    ways) are compared face by face, others as independent draws.

    Raises:
        DataError: too few or too many samples, or samples that do not have the same labels.
    """
    if not 2 <= len(samples) <= MOST:
        raise DataError(f"a comparison takes 2 to {MOST} sets of faces, not {len(samples)}")
    classes = samples[0].table.classes
    for sample in samples[1:]:
        if sorted(sample.table.classes) != sorted(classes):
            raise DataError(
                f"{printable(sample.name)} has the labels {', '.join(map(printable, sample.table.classes))}, "
                f"{printable(samples[0].name)} has {', '.join(map(printable, classes))}; only runs with the same "
                "labels can be compared"
            )
    codes = [_codes(sample.table, classes) for sample in samples]
    shares = tuple(label_shares(each, classes) for each in codes)
    results: list[tuple[int, int, Comparison | PairedComparison]] = []
    for a, b in combinations(range(len(samples)), 2):
        aligned = _aligned(samples[a], samples[b])
        if aligned is None:
            results.append((a, b, compare_counts(shares[a].counts, shares[b].counts, classes)))
        else:
            results.append((a, b, compare_paired(codes[a][aligned[0]], codes[b][aligned[1]], classes)))
    adjusted = holm([result.test.p_value for _, _, result in results])
    pairs = tuple(Pair(a, b, result, float(p)) for (a, b, result), p in zip(results, adjusted, strict=True))
    corrected = _corrected(samples, classes)
    return Compared(tuple(samples), classes, shares, corrected, pairs, _warnings(samples, corrected))


def _codes(table: LabelTable, classes: Sequence[str]) -> Ints:
    """Labels [N] as numbers in the order of `classes`."""
    return np.array([classes.index(name) for name in table.classes], np.int64)[table.codes]


def _aligned(a: Sample, b: Sample) -> tuple[Ints, Ints] | None:
    """Rows of both tables in one order, where they hold the same seeds of one network or the same pictures."""
    made, others = a.record.generate, b.record.generate
    judged, by = a.record.classify or ClassifyRecord(), b.record.classify or ClassifyRecord()
    keys: list[Any]
    if made and others and a.table.seeds is not None and b.table.seeds is not None:
        known = made.sha256
        same = known == others.sha256 and (made.class_index, made.classes) == (others.class_index, others.classes)
        keys = [a.table.seeds, b.table.seeds]
    elif not made and not others:
        known, same = judged.pictures_sha256, judged.pictures_sha256 == by.pictures_sha256
        keys = [np.array(a.table.faces), np.array(b.table.faces)]
    else:
        return None
    if known is None or not same or len(keys[0]) != len(keys[1]):
        return None
    orders = [np.argsort(key, kind="stable") for key in keys]
    first, second = (key[order] for key, order in zip(keys, orders, strict=True))
    if (first != second).any() or (first[1:] == first[:-1]).any():
        return None
    return orders[0], orders[1]


def _corrected(samples: Sequence[Sample], classes: tuple[str, ...]) -> tuple[Correction, ...] | None:
    found = []
    for sample in samples:
        if sample.validation is None or sample.table.classes != classes or read_selected(sample.record):
            return None
        if missing_validation(sample.validation, classes):
            return None
        try:
            found.append(correct(sample.table, sample.validation))
        except ValueError as error:
            raise DataError(f"the validation faces of {printable(sample.name)} do not serve: {error}") from error
    return tuple(found)


def _warnings(samples: Sequence[Sample], corrected: Sequence[Correction] | None) -> tuple[str, ...]:
    """Warnings where a difference between runs may be another than one between generators."""
    found = []
    judged = [sample.record.classify or ClassifyRecord() for sample in samples]
    seen: dict[str, list[Any]] = {
        "classifiers": [one.sha256 for one in judged],
        "input ranges": [one.input_range for one in judged],
        "crops": [one.crop for one in judged],
        "views": [one.size for one in judged],
        "filters": [one.filter for one in judged],
    }
    for what, values in seen.items():
        if any(value != values[0] for value in values):
            found.append(f"The runs were judged with different {what}, which shift labels by themselves.")
    for sample in samples:
        if sample.validation and (missing := missing_validation(sample.validation, sample.table.classes)):
            found.append(f"{printable(sample.name, 60)}: {missing}")
        if selected := read_selected(sample.record):
            found.append(
                f"The faces of {printable(sample.name, 60)} were selected by {selected.judge}: its shares were asked "
                "for, and no difference from them is one between generators. No shares are corrected."
            )
        seeds = sample.table.seeds
        if seeds is not None and len(np.unique(seeds)) < len(seeds):
            found.append(
                f"Some seeds of {printable(sample.name, 60)} occur more than once, so its intervals are too narrow."
            )
    refuted = [printable(one.name, 60) for one, by in zip(samples, corrected or (), strict=False) if by.refuted]
    if refuted:
        found.append(
            f"The labels of {listed(refuted)} refute a correction by the classifier’s mistakes on validation faces, so "
            "how often each expression truly occurs there is not known."
        )
    return tuple(found)
