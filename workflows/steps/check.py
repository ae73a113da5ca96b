"""A gate for pipelines: have the labels of a run drifted from a reference?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.run_record.settings import ClassifyRecord
from ...reports.correction import tested_label_shift, unseen
from ...reports.formatting import listed, plural
from ...reports.statistics.correction.fit import LabelShiftTest
from ...reports.statistics.correction.prevalence import Validation, estimate_prevalence
from ...reports.statistics.differences.clusters import clustered_distance, clustered_shares
from ...reports.statistics.differences.comparison import compare_counts, compare_to_reference
from ...reports.statistics.differences.distance import Interval, corrected_distance
from ...reports.statistics.differences.references import (
    NAMED_REFERENCES,
    Reference,
    as_labelled,
    reference,
    reference_from_table,
)
from ...reports.statistics.table import LabelTable
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import read_validation
from ..run_folder.seats import judge_name, seats
from ..run_folder.table import read_table


@dataclass(frozen=True)
class CheckResult:
    """The distance of a run's labels from a reference, and what it says about `max_tv`.

    `verdict` is 'same' where two runs hold the same faces with the same labels, 'within' where the whole interval is at
    or below `max_tv`, 'drifted' where it is above, and 'undecided' where `max_tv` lies inside: then these faces are too
    few to tell. It is 'refuted' where shares are corrected and the labels of a run refute the correction: such shares
    decide neither drift nor its absence, and neither sentence nor JSON tells the distance. `label_shift` holds its test
    for the 'run', and the 'reference' where that is one too.
    """

    distance: Interval
    max_tv: float
    verdict: str
    sentence: str
    warnings: tuple[str, ...]
    label_shift: Mapping[str, LabelShiftTest] = field(default_factory=dict)

    def passed(self, strict: bool = False) -> bool:
        """Not shown to have drifted; with `strict`, shown not to have. By a refuted correction nothing passes."""
        return self.verdict in ("same", "within") or (self.verdict == "undecided" and not strict)

    def as_dict(self) -> dict[str, object]:
        """The result as JSON values, for programs."""
        return {
            "verdict": self.verdict,
            "total_variation": None
            if self.verdict == "refuted"
            else {"value": self.distance.value, "low": self.distance.low, "high": self.distance.high},
            "level": self.distance.level,
            "max_tv": self.max_tv,
            "sentence": self.sentence,
            "warnings": list(self.warnings),
            "label_shift": {
                side: {"verdict": test.verdict, "p_value": test.p_value} for side, test in self.label_shift.items()
            },
        }


@dataclass(frozen=True)
class _Sample:
    """A run as something to compare: its table, and labelled faces to correct by where they are needed."""

    table: LabelTable
    validation: Validation | None
    judged: ClassifyRecord

    @classmethod
    def of(cls, run: RunFolder, corrected: bool) -> _Sample:
        table, _ = read_table(run)
        validation = read_validation(run) if corrected else None
        if corrected and validation is None:
            raise DataError(
                f"{printable(run.path)}: has no validation.npz to correct by; its classifier came without one. "
                "Check without --corrected"
            )
        return cls(table, validation, run.classify or ClassifyRecord())

    def counts(self) -> np.ndarray:
        return np.bincount(self.table.codes, minlength=len(self.table.classes))

    def keys(self) -> list[Hashable]:
        """The key of each face: its seed, or the name of its picture."""
        return list(self.table.faces) if self.table.seeds is None else self.table.seeds.tolist()

    def labelled(self) -> tuple[np.ndarray, list[Hashable]]:
        return self.table.codes, self.keys()

    def swept(self) -> bool:
        """Whether a seed stands for several faces."""
        return self.table.seeds is not None and len(np.unique(self.table.seeds)) < len(self.table)

    def same_labels(self, other: _Sample) -> bool:
        """Whether both hold the same faces with the same labels, in the same order."""
        return list(self.table.faces) == list(other.table.faces) and np.array_equal(
            self.table.probabilities, other.table.probabilities
        )

    def label_shift(self) -> LabelShiftTest:
        """Whether the labels refute the correction.

        Of a sweep it takes the first face of each seed, for the test supposes independent faces.
        """
        table, (_, validation) = self.table, self.to_correct()
        if self.swept():
            table = table.where(
                np.isin(np.arange(len(table)), np.unique(np.asarray(table.seeds), return_index=True)[1])
            )
        found = estimate_prevalence(table.probabilities, validation.labels, validation.probabilities, methods=("ACC",))
        return tested_label_shift(table, validation, found["ACC"])

    def to_correct(self) -> tuple[np.ndarray, Validation]:
        assert self.validation is not None
        return self.table.probabilities, self.validation


def check(
    run: RunFolder, against: str, max_tv: float, *, level: float = 0.95, corrected: bool = False, seed: int = 0
) -> CheckResult:
    """Compare a run's label distribution with a reference.

    Faces of equal seeds, or pictures of equal names, count as pairs, within a run over psi and between runs.

    Args:
        run: classified; of several judges the folder of the one that is meant.
        against: ``fer2013``, ``uniform``, a CSV with the columns ``label`` and ``share`` or ``count``, or another run.
        max_tv: the total variation distance that is allowed, 0..1: the share of faces with another label.
        level: of the interval of the distance.
        corrected: compare shares corrected for the classifier's confusion (ACC), of both runs where there are two.
        seed: of the random draws behind the interval; the same seed gives the same verdict.

    Raises:
        UsageError: `against` is none of these, or its labels are not those of the run.
        DataError: a run or a file cannot be read, or there is nothing to correct by.
    """
    ours = _Sample.of(run, corrected)
    theirs = read_reference(against, run, ours.table.classes, as_labels=not corrected)
    warnings: list[str] = []
    other: _Sample | Reference
    if isinstance(theirs, RunFolder):
        other = _Sample.of(theirs, corrected)
        _check_comparable(ours, other, against, warnings)
        name = f"the run {printable(theirs.name)} ({plural(len(other.table), 'face')})"
    else:
        other, name = theirs, printable(theirs.name)
        if other.warning:
            warnings.append(other.warning)
        taken = "expressions" if corrected else "labels"
        name += f" (taken as shares of {taken})" if other.error is None else " as this classifier would label it"
    distance = _distance(ours, other, corrected, level, seed, warnings)
    verdict = "within" if distance.high <= max_tv else "drifted" if distance.low > max_tv else "undecided"
    tests: dict[str, LabelShiftTest] = {}
    if isinstance(other, _Sample) and ours.same_labels(other):
        verdict, distance = "same", Interval(0.0, 0.0, 0.0, level)
    elif corrected:
        tests["run"] = ours.label_shift()
        if isinstance(other, _Sample):
            tests["reference"] = other.label_shift()
    refuted = [side for side, test in tests.items() if test.verdict == "refuted"]
    if refuted:
        verdict = "refuted"
    kind = "corrected shares" if corrected else "raw labels"
    found = (
        "the total variation is not known"
        if refuted
        else f"total variation {distance.value:.3f} ({100 * level:g} % interval {distance.low:.3f} to "
        f"{distance.high:.3f})"
    )
    sentence = (
        f"{verdict}: {found} from {name}, {kind} of {plural(len(ours.table), 'face')}; allowed {max_tv:g}"
        f"{_consequence(verdict, refuted)}"
    )
    return CheckResult(distance, max_tv, verdict, sentence.replace("\N{NO-BREAK SPACE}", " "), tuple(warnings), tests)


def _consequence(verdict: str, refuted: list[str]) -> str:
    """The end of the sentence, for verdicts that need one."""
    if verdict == "undecided":
        return "; more faces would decide"
    if verdict == "same":
        return "; both hold the same faces with the same labels"
    if verdict == "refuted":
        return (
            f"; the labels of the {listed(refuted)} refute the correction, so corrected "
            "shares decide nothing here: check without --corrected, or label faces by hand (fergan audit labels)"
        )
    return ""


def _check_comparable(ours: _Sample, other: _Sample, against: str, warnings: list[str]) -> None:
    if other.table.classes != ours.table.classes:
        raise UsageError(
            f"--reference {printable(against)}: has the labels {', '.join(map(printable, other.table.classes))}, "
            f"the run has {', '.join(map(printable, ours.table.classes))}"
        )
    mine, theirs = ours.judged, other.judged
    if mine.sha256 == theirs.sha256 and mine.span() != theirs.span():
        raise UsageError(
            f"--reference {printable(against)}: was judged by the same classifier with the input range "
            f"{theirs.span()}, the run with {mine.span()}; at least one of them is wrong, so classify that run again"
        )
    if mine.judged_by() != theirs.judged_by():
        spans = f" (input ranges {mine.span()} and {theirs.span()})" if mine.span() != theirs.span() else ""
        warnings.append(
            f"the two runs were judged by different classifiers{spans}, crops or views, "
            "which shift labels by themselves"
        )


def _distance(
    ours: _Sample, other: _Sample | Reference, corrected: bool, level: float, seed: int, warnings: list[str]
) -> Interval:
    """The distance with its interval; faces of one seed or picture are drawn together."""
    classes = ours.table.classes
    if isinstance(other, Reference):
        clustered = ours.swept()
    else:
        clustered = ours.swept() or other.swept() or not set(ours.keys()).isdisjoint(other.keys())
    if corrected:
        means = None
        if clustered:
            labelled = other.labelled() if isinstance(other, _Sample) else None
            means = clustered_shares(ours.labelled(), labelled, len(classes), seed=seed)[1]
        theirs = other if isinstance(other, Reference) else other.to_correct()
        try:
            return corrected_distance(ours.to_correct(), theirs, means=means, level=level, seed=seed)
        except ValueError as error:
            raise DataError(f"the validation faces do not serve: {error}; check without --corrected") from error
    if isinstance(other, Reference):
        if clustered and other.counts is None:
            return clustered_distance(
                ours.labelled(), other.shares, len(classes), error=other.error, level=level, seed=seed
            )
        if clustered:
            warnings.append("the run pools several truncations of the same seeds, so the interval is too narrow")
        return compare_to_reference(ours.counts(), classes, other, level=level, seed=seed).total_variation
    if clustered:
        return clustered_distance(ours.labelled(), other.labelled(), len(classes), level=level, seed=seed)
    return compare_counts(ours.counts(), other.counts(), classes, level=level, seed=seed).total_variation


def read_reference(
    text: str, ours: RunFolder, classes: tuple[str, ...], as_labels: bool = True
) -> Reference | RunFolder:
    """The reference that ``--reference`` names: a built-in one, a CSV file, or the labels of another run.

    A built-in one has true expressions; ``as_labels`` gives the labels that our classifier would give to them, where
    its errors are known. Where no validation face shows one of them, it has a warning instead. Of a run with several
    judges it is the one that judged ours, else the first.

    Raises:
        UsageError: nothing of that name.
        DataError: a CSV that cannot be read or does not fit the classes, or a damaged run.
    """
    if text in NAMED_REFERENCES:
        found, validation = reference(text, classes), read_validation(ours) if as_labels else None
        if validation is None:
            return found
        if lacking := unseen(validation, classes):
            return replace(
                found,
                warning=f"the validation faces show no {listed(lacking)}, so labels are compared with the true "
                f"expressions of {found.name} as they are, and the classifier's mistakes alone make a distance",
            )
        return as_labelled(found, validation)
    path = Path(text)
    if path.is_file():
        try:
            # labels are text, whatever they look like
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
        except (OSError, ValueError) as error:
            raise DataError(f"{printable(path)}: cannot be read as a CSV ({printable(error)})") from error
        return reference_from_table(table, classes, path.name)
    run = RunFolder(text)
    if not run.record.values:
        raise UsageError(
            f"--reference {printable(text)}: is neither a file nor a run; give {', '.join(NAMED_REFERENCES)}, "
            "a CSV with the columns label and share, or the name of a run"
        )
    folders = seats(run)
    return next((folder for folder in folders if judge_name(folder) == judge_name(ours)), folders[0])
