"""What a report is made of, read from a run folder: labels, pictures, and what is known of the classifier's errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.errors import DataError
from ..data.faces import CROPS, prepare_faces
from ..data.images import ImageSource, printable, read_image
from ..reports.preparation import PreparationSensitivity, read_preparation
from ..reports.prevalence import Validation
from ..reports.table import LabelTable, read_labels
from .labels import read_labels_csv
from .run_folder import RunFolder
from .validation import read_validation

Picture = np.ndarray


@dataclass(frozen=True)
class RunInputs:
    """A classified run.

    Attributes:
        run: its folder.
        table: the labelled faces.
        skipped: files that could not be judged, or None.
        validation: the classifier's answers on labelled faces, or None.
    """

    run: RunFolder
    table: LabelTable
    skipped: pd.DataFrame | None
    validation: Validation | None

    @property
    def settings(self) -> dict[str, Any]:
        return self.run.record


def read_inputs(run: RunFolder) -> RunInputs:
    """Labels of a run with what belongs to them.

    Raises:
        DataError: there are no labels, or a file is damaged.
    """
    labels, skipped = _read_parts(run) if _only_parts(run) else read_labels_csv(run)
    return RunInputs(run, read_labels(labels, run.record), skipped, read_validation(run))


def _only_parts(run: RunFolder) -> bool:
    return not run.labels_csv.exists() and any(run.labels.glob("part-*.parquet"))


def _read_parts(run: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The labels of a run that keeps them as Parquet alone: the columns that a report needs, and the skipped faces.

    Raises:
        DataError: a part is damaged, or the parts are not all there.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    try:
        whole = ds.dataset([str(path) for path in sorted(run.labels.glob("part-*.parquet"))], format="parquet")
        names = [name for name in whole.schema.names if name != "skipped"]
        skipped = pc.field("skipped").is_valid()
        labels = whole.to_table(columns=names, filter=~skipped).to_pandas(
            strings_to_categorical=False, self_destruct=True, split_blocks=True
        )
        lost = whole.to_table(columns=["face", "skipped"], filter=skipped).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{printable(run.labels)}: a part is damaged ({printable(error)}); run 'fergan classify' again"
        ) from error
    expected = (run.settings("generate") or run.settings("classify") or {}).get("n")
    if len(labels) + len(lost) != expected:
        raise DataError(
            f"{printable(run.labels)}: holds {len(labels) + len(lost)} faces of {expected}; "
            f"run 'fergan classify --run {run.name}' to finish them"
        )
    return labels, lost.rename(columns={"skipped": "reason"}) if len(lost) else None


class FaceReader:
    """The judged pictures of a run by name: its own faces, or those that ``classify --images`` was given.

    Called with a name it returns uint8 [H, W] or [H, W, 3]; a DataError where the picture is gone.
    """

    def __init__(self, run: RunFolder, held: Mapping[str, Picture] | None = None) -> None:
        """``held``: pictures that are still in memory; others are read from disk."""
        self.run, self.held = run, held or {}

    def __call__(self, name: str) -> Picture:
        picture = self.held[name] if name in self.held else self._read(name)
        return picture[:, :, 0] if picture.shape[2:] == (1,) else picture

    @cached_property
    def _read(self) -> Callable[[str], Picture]:
        foreign = (self.run.settings("classify") or {}).get("images")
        if foreign is not None:
            return ImageSource(foreign).read
        return self._own

    def _own(self, name: str) -> Picture:
        if Path(name).name != name:  # a table that somebody else wrote must not reach out of the folder
            raise DataError(f"{printable(name)}: is no name of a picture in {printable(self.run.faces)}")
        return read_image(self.run.faces / name)


def preparer(run: RunFolder) -> Callable[[Picture], Picture] | None:
    """The preparation that the run's classifier saw, picture by picture; None where the run does not tell it."""
    crop = (run.settings("classify") or {}).get("crop")
    if crop not in CROPS:
        return None
    return lambda picture: prepare_faces([picture], crop=crop)[0]


def sensitivity_path(run: RunFolder) -> Path:
    """Where ``report --sensitivity`` keeps its labels."""
    return run.path / "sensitivity.json"


def read_sensitivity(inputs: RunInputs) -> PreparationSensitivity | None:
    """How the labels depend on crop and filter, where that was measured.

    Raises:
        DataError: the file is damaged or of another classifier.
    """
    path = sensitivity_path(inputs.run)
    record = read_json(path)
    if record is None:
        return None
    try:
        sha256 = (inputs.run.settings("classify") or {}).get("sha256")
        return read_preparation(record, inputs.table.classes, sha256)
    except DataError as error:
        raise DataError(f"{printable(path)}: {error}; delete it, or give --sensitivity again") from error


def read_json(path: Path) -> Any:
    """The JSON values of a file, None where there is no such file.

    Raises:
        DataError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)}: is damaged ({printable(error)}); delete it") from error
