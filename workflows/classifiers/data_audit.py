"""``fergan audit data``: what is wrong with a data set, as a table, a page of faces and lists to act on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.audit.audit import Audit, audit, leaks_to_drop
from ...data.audit.corrections import drop_rows, relabel
from ...data.audit.duplicates import THRESHOLD
from ...data.face_set import FaceSet
from ...data.labels import canonical_label
from ...data.merging import merge
from ...data.readers import read_faces
from ...data.readers.ferplus import COLUMNS, read_ferplus
from ...data.splits import split
from ...reports.pages.data_audit import build_page
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, npz_bytes, printable, read_npz, utf8_text, write_atomically


@dataclass(frozen=True)
class DataAuditOptions:
    """Settings of a data audit.

    Attributes:
        data: one or more data sets, as :func:`fergan.data.readers.read_faces` takes them.
        classes: to merge on, see :func:`fergan.data.merging.merge`.
        split: None for the splits that the data come with, else see :func:`fergan.data.splits.split`.
        seed: of a made split, and of the folds.
        threshold: of near duplicates.
        predictions: file of out-of-fold probabilities, see :func:`read_predictions`.
        predict: make such predictions from a classifier's features.
        model: that classifier.
        votes: FER+'s table, where the data are one fer2013.csv.
        exclude, relabel: lists to apply first, in this order of rows: labels change before rows go.
        drop_leaks: write the list of rows to leave out.
    """

    data: Sequence[str]
    classes: str = "all"
    split: str | None = None
    seed: int = 0
    threshold: float = THRESHOLD
    predictions: str | None = None
    predict: bool = False
    model: str | None = None
    votes: str | None = None
    exclude: str | None = None
    relabel: str | None = None
    drop_leaks: bool = False


def run_data_audit(options: DataAuditOptions, out: str | Path) -> tuple[Audit, list[Path]]:
    """Audit data sets and write what was found.

    Args:
        options: see :class:`DataAuditOptions`.
        out: a folder, made if it is not there. It receives ``findings.csv`` (:data:`fergan.data.audit.audit.COLUMNS`),
            ``summary.json``, ``audit.html``, and as asked for ``exclude.csv``, ``relabelled.csv`` (what changed) and
            ``predictions.npz``.

    Raises:
        DataError, UsageError: as the readers and steps say.
    """
    faces = merge([read_faces(path) for path in options.data], options.classes)
    votes = _not_a_face(options, faces)
    if options.split is not None:
        faces = split(faces, options.split, options.seed)
    files: dict[str, bytes] = {}
    if options.relabel is not None:
        faces, changes = relabel(faces, options.relabel)
        files["relabelled.csv"] = _csv(changes)
    if options.exclude is not None:
        before = len(faces)
        faces = drop_rows(faces, options.exclude)
        if len(faces) != before and (votes is not None or options.predictions is not None):
            raise UsageError(
                "--exclude leaves rows out, which --votes and --predictions still have; give them without it"
            )
    probabilities = None
    if options.predictions is not None:
        probabilities = read_predictions(options.predictions, faces.label_names)
    elif options.predict:
        from .out_of_fold import out_of_fold

        probabilities = out_of_fold(faces, options.model, seed=options.seed)
        files["predictions.npz"] = npz_bytes(
            probabilities=probabilities.astype(np.float32), labels=np.array(faces.label_names)
        )
    result = audit(faces, threshold=options.threshold, probabilities=probabilities, not_a_face=votes)
    files["findings.csv"] = _csv(result.findings)
    record = {"data": dict(faces.record), "threshold": options.threshold, "summary": result.summary}
    files["summary.json"] = (json.dumps(record, indent=2, default=str) + "\n").encode()
    if options.drop_leaks:
        files["exclude.csv"] = _csv(leaks_to_drop(faces, result.findings))
    title = ", ".join(Path(path).name for path in options.data)
    files["audit.html"] = utf8_text(build_page(faces, result, title)).encode()
    out = make_folder(out)
    for name, content in files.items():
        write_atomically(out / name, content)
    return result, [out / name for name in files]


def read_predictions(path: str | Path, label_names: tuple[str, ...]) -> np.ndarray:
    """Out-of-fold probabilities float64 [N, K], one row a face, in the order of the data.

    Args:
        path: a CSV whose columns are the labels (others are passed over), or an ``.npz`` with ``probabilities``
            [N, K] and ``labels`` [K].

    Raises:
        DataError: the file cannot be read, lacks a label, or holds what are not probabilities.
    """
    try:
        if Path(path).suffix.lower() == ".npz":
            held = read_npz(path, "give predictions.npz of 'fergan audit data --predict'")
            table = pd.DataFrame(held["probabilities"], columns=[str(name) for name in held["labels"]])
        else:
            table = pd.read_csv(path)
        table = table.rename(columns=lambda name: canonical_label(str(name)))
        values = table[list(label_names)].to_numpy(np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{printable(path)}: is not a table of probabilities with the columns {', '.join(label_names)} "
            f"({printable(error)})"
        ) from error
    if np.nanmin(values, initial=0) < -1e-6 or np.nanmax(values, initial=0) > 1 + 1e-6:
        raise DataError(f"{printable(path)}: holds numbers outside 0..1, so no probabilities")
    return values


def _not_a_face(options: DataAuditOptions, faces: FaceSet) -> np.ndarray | None:
    if options.votes is None:
        return None
    if len(options.data) != 1 or faces.record.get("layout") != "fer2013 csv":
        raise UsageError("--votes are FER+'s for the rows of fer2013.csv; give that file alone as --data")
    return read_ferplus(options.votes, faces.usage)[:, COLUMNS.index("NF")]


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
