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
from .formatting import NBSP, listed, plural, printable
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
    ways) are compared face by face. So are the faces that two samples share, if they are most of both. Others are
    compared as independent draws; the few faces that they may share make that careful, not rash.

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
    samples = [_in_order(sample, classes) for sample in samples]
    shares = tuple(label_shares(sample.table.codes, classes) for sample in samples)
    results = [(a, b, _compare(samples[a], samples[b])) for a, b in combinations(range(len(samples)), 2)]
    adjusted = holm([result.test.p_value for _, _, result in results])
    pairs = tuple(Pair(a, b, result, float(p)) for (a, b, result), p in zip(results, adjusted, strict=True))
    corrected = _corrected(samples, classes)
    return Compared(tuple(samples), classes, shares, corrected, pairs, _warnings(samples, corrected))


def _in_order(sample: Sample, classes: tuple[str, ...]) -> Sample:
    """The same with labels, probabilities and validation faces in the order of `classes`."""
    table, validation = sample.table, sample.validation
    if table.classes == classes:
        return sample
    old, new = [table.classes.index(name) for name in classes], np.array([classes.index(x) for x in table.classes])
    table = replace(table, classes=classes, codes=new[table.codes], probabilities=table.probabilities[:, old])
    if validation is not None:
        validation = replace(
            validation, labels=new[validation.labels], probabilities=np.asarray(validation.probabilities)[:, old]
        )
    return replace(sample, table=table, validation=validation)


def _compare(a: Sample, b: Sample) -> Comparison | PairedComparison:
    """Two samples face by face where most faces of both are in both, else as independent draws."""
    classes, most = a.table.classes, max(len(a.table), len(b.table))
    rows, others = _shared(a, b)
    if 2 * len(rows) <= most:
        first, second = (np.bincount(one.table.codes, minlength=len(classes)) for one in (a, b))
        return compare_counts(first, second, classes)
    found = compare_paired(a.table.codes[rows], b.table.codes[others], classes)
    if len(rows) == most:
        return found
    return replace(found, notes=(f"Compared on the {plural(len(rows), 'face')} that both sets hold.", *found.notes))


def _shared(a: Sample, b: Sample) -> tuple[Ints, Ints]:
    """Rows of both tables, in one order, that hold the same seeds of one network or the same pictures."""
    none = np.zeros(0, np.int64)
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
        return none, none
    if known is None or not same or any(len(np.unique(key)) < len(key) for key in keys):
        return none, none
    _, first, second = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    return first, second


def _corrected(samples: Sequence[Sample], classes: tuple[str, ...]) -> tuple[Correction, ...] | None:
    found = []
    for sample in samples:
        if sample.validation is None or read_selected(sample.record):
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
        "input sizes": [one.size for one in judged],
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
    bare = [printable(sample.name, 60) for sample in samples if sample.validation is None]
    if 0 < len(bare) < len(samples):
        found.append(
            f"No shares are corrected for the classifier’s mistakes: {listed(bare)} came without labelled faces to "
            "correct by, and raw shares stand beside raw shares only."
        )
    refuted = [printable(one.name, 60) for one, by in zip(samples, corrected or (), strict=False) if by.refuted]
    if refuted:
        found.append(
            f"The labels of {listed(refuted)} refute a correction by the classifier’s mistakes on validation faces, so "
            "how often each expression truly occurs there is not known."
        )
    return tuple(found)
