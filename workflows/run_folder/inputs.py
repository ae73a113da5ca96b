"""The inputs of a report, read from a run folder: labels, pictures, and the classifier's known errors."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...reports.statistics.correction.prevalence import Validation
from ...reports.statistics.differences.preparation import PreparationSensitivity, read_preparation
from ...reports.statistics.table import LabelTable
from ...runtime.errors import DataError, counted
from ...runtime.files import printable, read_json, read_regular
from .folder import RunFolder
from .seats import judge_name, seats
from .table import read_table


@dataclass(frozen=True)
class RunInputs:
    """A classified run, with the files that could not be judged, and the classifier's answers on labelled faces."""

    run: RunFolder
    table: LabelTable
    skipped: pd.DataFrame | None
    validation: Validation | None


def read_inputs(run: RunFolder) -> RunInputs:
    """Labels of a run with what belongs to them.

    Raises:
        DataError: there are no labels, or a file is damaged.
    """
    return RunInputs(run, *read_table(run), read_validation(run))


def read_judges(run: RunFolder) -> tuple[list[RunInputs], dict[str, str]]:
    """The labels of all judges of a run, the first one's first, and why others have none, by their names.

    Raises:
        DataError: no judge has labels, those of the first one are damaged, or another file is.
    """
    found: list[RunInputs] = []
    failed: dict[str, str] = {}
    for seat in seats(run):
        if (reason := seat.record.failed) is None:
            try:
                found.append(read_inputs(seat))
                continue
            except DataError as error:
                if seat is run:
                    raise
                reason = str(error)
        failed[judge_name(seat)] = reason
    if not found:
        raise DataError(f"{printable(run.path)}: no judge has labelled its faces ({'; '.join(failed.values())})")
    return found, failed


def read_sensitivity(inputs: RunInputs) -> PreparationSensitivity | None:
    """How the labels depend on crop and filter, where that was measured.

    Raises:
        DataError: the file is damaged or of another classifier.
    """
    path = inputs.run.sensitivity
    record = read_json(path)
    if record is None:
        return None
    try:
        judged = inputs.run.classify
        found = read_preparation(record, inputs.table.classes, judged.sha256 if judged else None)
    except DataError as error:
        raise DataError(f"{printable(path)}: {error}; delete it, or give --sensitivity again") from error
    kept = None if inputs.validation is None else inputs.validation.kept
    if kept is None or found.validation_distances is None or len(found.validation_distances) != len(kept):
        return found
    distances = np.asarray(found.validation_distances)[kept]
    return replace(found, validation_distances=tuple(distances.tolist()))


def read_validation(run: RunFolder) -> Validation | None:
    """``validation.npz`` of a run, None where its classifier came without one.

    Faces that it marks in ``leaks`` have copies among the training faces and are left out: of these a classifier is
    surer, and right more often, than of faces that it never saw. Where all have copies there is no validation.

    Raises:
        DataError: the file is damaged.
    """
    if not run.validation.exists():
        return None
    try:
        with np.load(io.BytesIO(read_regular(run.validation)), allow_pickle=False) as stored:
            name, labels, probabilities = (
                str(stored["name"]),
                stored["labels"].astype(np.int64),
                stored["probabilities"],
            )
            if "leaks" not in stored:
                return Validation(name, labels, probabilities)
            kept = ~stored["leaks"].astype(bool)
            labels, probabilities = labels[kept], probabilities[kept]
            if kept.all() or not kept.any():
                return Validation(name, labels, probabilities) if len(labels) else None
            gone = int((~kept).sum())
            copied = "has a copy" if gone == 1 else "have copies"
            name += f" without {counted(gone, 'face')} that {copied} among the training faces"
            return Validation(name, labels, probabilities, kept)
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged files
        raise DataError(
            f"{printable(run.validation)}: is damaged ({printable(error)}); delete it and classify again"
        ) from error
