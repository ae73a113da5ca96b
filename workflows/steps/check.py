"""A gate for pipelines: have the labels of a run drifted from a reference?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...reports.formatting import plural
from ...reports.statistics.comparison import compare_counts, compare_to_reference
from ...reports.statistics.distance import Interval, corrected_distance
from ...reports.statistics.prevalence import Validation
from ...reports.statistics.references import (
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
from ..run_folder.table import read_table


@dataclass(frozen=True)
class CheckResult:
    """The distance of a run's labels from a reference, and what it says about `max_tv`.

    `verdict` is 'within' where the whole interval is at or below `max_tv`, 'drifted' where it is above, and
    'undecided' where `max_tv` lies inside: then these faces are too few to tell.
    """

    distance: Interval
    max_tv: float
    verdict: str
    sentence: str
    warnings: tuple[str, ...]

    def passed(self, strict: bool = False) -> bool:
        """Not shown to have drifted; with `strict`, shown not to have."""
        return self.verdict == "within" or (self.verdict == "undecided" and not strict)


@dataclass(frozen=True)
class _Sample:
    """A run as something to compare: its table, and labelled faces to correct by where they are needed."""

    table: LabelTable
    validation: Validation | None
    judged_by: tuple[object, ...]

    @classmethod
    def of(cls, run: RunFolder, corrected: bool) -> _Sample:
        table, _ = read_table(run)
        validation = read_validation(run) if corrected else None
        if corrected and validation is None:
            raise DataError(
                f"{printable(run.path)}: has no validation.npz to correct by; its classifier came without one. "
                "Check without --corrected"
            )
        settings = run.settings("classify") or {}
        judged_by = tuple(settings.get(key) for key in ("sha256", "crop", "filter"))
        return cls(table, validation, judged_by)

    def counts(self) -> np.ndarray:
        return np.bincount(self.table.codes, minlength=len(self.table.classes))

    def to_correct(self) -> tuple[np.ndarray, Validation]:
        assert self.validation is not None
        return self.table.probabilities, self.validation


def check(
    run: RunFolder, against: str, max_tv: float, *, level: float = 0.95, corrected: bool = False, seed: int = 0
) -> CheckResult:
    """Compare a run's label distribution with a reference.

    Args:
        run: classified.
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
    classes = ours.table.classes
    theirs = read_reference(against, classes)
    warnings = []
    if run.settings("generate") and (run.settings("generate") or {}).get("psi_sweep"):
        warnings.append("the run pools several truncations of the same seeds, so the interval is too narrow")
    if isinstance(theirs, RunFolder):
        other = _Sample.of(theirs, corrected)
        if other.table.classes != classes:
            raise UsageError(
                f"--reference {printable(against)}: has the labels {', '.join(map(printable, other.table.classes))}, "
                f"the run has {', '.join(map(printable, classes))}"
            )
        if other.judged_by != ours.judged_by:
            warnings.append(
                "the two runs were judged by different classifiers or crops, which shift labels by themselves"
            )
        name = f"the run {printable(theirs.name)} ({plural(len(other.table), 'face')})"
        if corrected:
            distance = _corrected_distance(ours, other, level, seed)
        else:
            distance = compare_counts(ours.counts(), other.counts(), classes, level=level, seed=seed).total_variation
    else:
        name = printable(theirs.name)
        if corrected:
            distance = _corrected_distance(ours, theirs, level, seed)
        else:
            validation = read_validation(run) if against in NAMED_REFERENCES else None
            if validation is not None:  # true expressions are compared with the labels that they would get
                theirs = as_labelled(theirs, validation)
                name += " as this classifier would label it"
            distance = compare_to_reference(ours.counts(), classes, theirs, level=level, seed=seed).total_variation
    verdict = "within" if distance.high <= max_tv else "drifted" if distance.low > max_tv else "undecided"
    kind = "corrected shares" if corrected else "raw labels"
    sentence = (
        f"{verdict}: total variation {distance.value:.3f} ({100 * level:g} % interval {distance.low:.3f} to "
        f"{distance.high:.3f}) from {name}, {kind} of {plural(len(ours.table), 'face')}; allowed {max_tv:g}"
    )
    if verdict == "undecided":
        sentence += "; more faces would decide"
    return CheckResult(distance, max_tv, verdict, sentence.replace("\N{NO-BREAK SPACE}", " "), tuple(warnings))


def read_reference(text: str, classes: tuple[str, ...]) -> Reference | RunFolder:
    """What ``--reference`` names: a built-in reference, a CSV file, or a run.

    Raises:
        UsageError: nothing of that name.
        DataError: a CSV that cannot be read or does not fit the classes, or a damaged run.
    """
    if text in NAMED_REFERENCES:
        return reference(text, classes)
    path = Path(text)
    if path.is_file():
        try:
            # labels are text, whatever they look like
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
        except (OSError, ValueError) as error:
            raise DataError(f"{printable(path)}: cannot be read as a CSV ({printable(error)})") from error
        return reference_from_table(table, classes, path.name)
    run = RunFolder(text)
    if not run.record:
        raise UsageError(
            f"--reference {printable(text)}: is no file and no run; give {', '.join(NAMED_REFERENCES)}, "
            "a CSV with the columns label and share, or the name of a run"
        )
    return run


def _corrected_distance(ours: _Sample, theirs: _Sample | Reference, level: float, seed: int) -> Interval:
    other = theirs if isinstance(theirs, Reference) else theirs.to_correct()
    try:
        return corrected_distance(ours.to_correct(), other, level=level, seed=seed)
    except ValueError as error:
        raise DataError(f"the validation faces do not serve: {error}; check without --corrected") from error
