"""Faces that ``fergan generate --want`` made: a run folder with ``manifest.csv`` and the pictures in ``faces/``.

The label of a face is the expression that was wanted, and that a classifier found in it: no person has seen it. The
record says so (``synthetic``), and which classifier it was.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..face_set import FaceSet
from ..image_source import ImageSource
from ..labels import canonical_label
from ..run_record.run import read_run
from ..run_record.settings import GenerateRecord
from .folders import load_set
from .place import Place

MANIFEST = "manifest.csv"


def recognise(place: Place) -> bool:
    """Whether it is a run folder with a list of wanted faces."""
    try:
        with open(place.path / MANIFEST, encoding="utf-8") as file:
            return {"face", "want"} <= set(next(csv.reader(file), []))
    except (OSError, ValueError, csv.Error):
        return False


def read(path: Path, crop: str | None = None) -> FaceSet:
    """Read a run of wanted faces.

    Args:
        path: the run folder.
        crop: None for the one by which they were chosen.

    Returns:
        The faces in the order of their seeds, without splits; the label is the one that was wanted.

    Raises:
        DataError: the search is not finished, or a picture is missing or cannot be read.
    """
    label = printable(path)
    try:
        with open(path / MANIFEST, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names, classes = [str(row["face"]) for row in rows], [canonical_label(row["want"] or "") for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{label}: its {MANIFEST} cannot be read ({printable(error)})") from error
    with ImageSource(path / "faces") as source:
        missing = sorted(set(names) - set(source.names))
        if missing or not names:
            what = f"{len(missing)} of {len(names)} faces of its {MANIFEST}" if names else "all faces"
            raise DataError(
                f"{label}: {what} are not in faces/; give the command that made the run again ('fergan run' with "
                "--pictures all)"
            )
        run = read_run(path / "run.json", "delete it", "make the faces again")
        made = (run and run.generate) or GenerateRecord()
        judge, network = (printable(name or "unknown") for name in (made.judge, made.network))
        note = (
            f"Synthetic faces: {network} made them, and {judge} chose them by the label that they have here; no person "
            f"labelled them. A classifier is scored by its agreement with {judge}."
        )
        return load_set(
            source,
            names,
            classes,
            path=path,
            layout="wanted faces",
            crop=crop or made.judge_crop or "none",
            record={
                "synthetic": True,
                "judge": judge,
                "judge_sha256": made.judge_sha256,
                "judge_family": list((run and run.selected and run.selected.judge_family) or ()),
                "notes": [note],
            },
        )
