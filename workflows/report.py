"""Step three: labels become a page."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..data.errors import DataError
from ..data.images import ImageSource, printable, read_image
from ..reports.page import build_report, write_report
from ..reports.prevalence import Validation
from .labels import read_labels_csv
from .run_folder import RunFolder


def report(run: RunFolder, pictures: dict[str, np.ndarray] | None = None) -> Path:
    """Write ``report.html`` and ``report.json`` of a classified run.

    Args:
        run: with a ``labels.csv``.
        pictures: pictures that are still in memory, by file name; others are read from disk.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError: there are no labels, or a picture is gone or a file cannot be written.
    """
    labels, skipped = read_labels_csv(run)
    read = _reader(run)
    held = pictures or {}
    result = build_report(
        labels,
        settings=run.record,
        load_face=lambda name: _displayable(held[name] if name in held else read(name)),
        skipped=skipped,
        validation=_validation(run),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    page, _ = write_report(result, run.path)
    return page


def _reader(run: RunFolder) -> Callable[[str], np.ndarray]:
    judged = run.settings("classify") or {}
    if "images" in judged:
        source = ImageSource(judged["images"])
        return source.read
    return lambda name: read_image(run.faces / name)


def _validation(run: RunFolder) -> Validation | None:
    if not run.validation.exists():
        return None
    try:
        with np.load(run.validation, allow_pickle=False) as stored:
            return Validation(str(stored["name"]), stored["labels"].astype(int), stored["probabilities"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{printable(run.validation)}: is damaged ({error}); delete it and classify again") from error


def _displayable(picture: np.ndarray) -> np.ndarray:
    return picture[:, :, 0] if picture.shape[2:] == (1,) else picture
