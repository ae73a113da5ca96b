"""A human audit: a page on which people label a sample of faces, and what they answered, back in the run folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...reports.pages.label_audit import build_audit_page
from ...reports.settings import plain
from ...reports.statistics.label_audit import (
    NO_ANSWER,
    AuditDesign,
    AuditEstimate,
    prediction_powered,
    stratified_sample,
)
from ...reports.statistics.table import LabelTable
from ...runtime.errors import DataError, UsageError
from ...runtime.files import json_text, printable, read_json, write_atomically, write_together
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import RunInputs, read_inputs
from ..run_folder.pictures import FaceReader

FORMAT = 1
_MOST_BYTES = 64 * 2**20  # of a file of answers


def audit_path(run: RunFolder) -> Path:
    """The sample and, once they are there, the answers."""
    return run.path / "audit.json"


def write_audit_page(run: RunFolder, n: int = 200, seed: int = 0) -> tuple[Path, int]:
    """Choose faces and write the page to label them on, ``audit.html``.

    Args:
        run: a classified run.
        n: faces to label, at least 2; all of them where there are not more.
        seed: of the choice.

    Returns:
        The path of the page, and how many faces it shows.

    Raises:
        DataError: there are no labels, or a picture is gone.
        UsageError: the run holds answers about another sample.
    """
    inputs = read_inputs(run)
    design = stratified_sample(inputs.table, n, seed)
    names = _names(inputs.table, design)
    path = audit_path(run)
    held = read_json(path)
    if isinstance(held, Mapping) and held.get("answers") is not None:
        if held.get("faces") != names:
            raise UsageError(
                f"{printable(path)} holds answers about another sample of faces; give the same --n and --seed, or "
                "delete it to start over"
            )
    else:
        record = {"format": FORMAT, "n": n, "seed": seed, "faces": names, "answers": None}
        write_together({path: json_text(record)}, "the sample")
    reader = FaceReader(run)
    html = build_audit_page(
        run=run.name,
        digest=_digest(names),
        classes=inputs.table.classes,
        faces=names,
        pictures=[reader(inputs.table.faces[row]) for row in design.rows],
    )
    page = run.path / "audit.html"
    write_together({page: html}, "the page")
    return page, len(names)


def import_answers(run: RunFolder, answers: Path) -> tuple[int, int]:
    """Read the answers that the page gave, JSON or CSV, and keep them in the run folder.

    Returns:
        How many faces have an answer, and how many were shown.

    Raises:
        DataError: the file cannot be read, or its faces or labels are not those of the audit.
        UsageError: no audit of this run was begun.
    """
    inputs = read_inputs(run)
    path = audit_path(run)
    record = read_json(path)
    if record is None:
        raise UsageError(
            f"{printable(run.path)}: no audit was begun; run 'fergan audit labels --run {run.name}' and label the faces"
        )
    design, names = _design(inputs, record)
    given = _read_answers(answers)
    unknown = [name for name in given if name not in set(names)]
    if unknown or len(given) != len(names):
        what = (
            f"names {printable(unknown[0])}, which is not in this audit"
            if unknown
            else f"has {len(given)} faces, the audit {len(names)}"
        )
        raise DataError(f"{printable(answers)}: {what}; give the file that the page of this run wrote")
    labels = {str(plain(name)): code for code, name in enumerate(inputs.table.classes)}
    for face, answer in given.items():
        if answer is not None and answer not in labels:
            raise DataError(
                f"{printable(answers)}: {printable(face)} has the answer {printable(answer)!r}, which is none of "
                f"{', '.join(map(printable, labels))}"
            )
    ordered = [given[name] for name in names]
    answered = sum(answer is not None for answer in ordered)
    if answered < 2:
        raise DataError(f"{printable(answers)}: has {answered} answers; an estimate needs at least two")
    codes = np.array([NO_ANSWER if answer is None else labels[answer] for answer in ordered])
    _estimate(inputs.table, design, codes, answers)
    kept = {**record, "answers": ordered}
    write_atomically(path, json_text(kept).encode())
    return answered, len(names)


def read_audit(inputs: RunInputs) -> AuditEstimate | None:
    """The estimate by people, where a run holds their answers.

    Raises:
        DataError: the file is damaged or of other labels.
    """
    path = audit_path(inputs.run)
    record = read_json(path)
    if record is None or (isinstance(record, Mapping) and record.get("answers") is None):
        return None
    design, names = _design(inputs, record)
    answers = record["answers"]
    codes = {str(plain(name)): code for code, name in enumerate(inputs.table.classes)}
    known = isinstance(answers, list) and all(answer is None or answer in codes for answer in answers)
    if not known or len(answers) != len(names):
        raise DataError(f"{printable(path)}: its answers do not fit its faces; delete it and audit again")
    given = np.array([NO_ANSWER if answer is None else codes[answer] for answer in answers])
    return _estimate(inputs.table, design, given, path)


def _estimate(table: LabelTable, design: AuditDesign, codes: np.ndarray, path: Path) -> AuditEstimate:
    try:
        return prediction_powered(table, design, codes)
    except ValueError as error:
        raise DataError(f"{printable(path)}: {error}") from error


def _design(inputs: RunInputs, record: Any) -> tuple[AuditDesign, list[str]]:
    """The sample that a record is about, chosen anew and compared with what was shown."""
    path = audit_path(inputs.run)
    try:
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}")
        n, seed = int(record["n"]), int(record["seed"])
        design = stratified_sample(inputs.table, n, seed)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{printable(path)}: is no audit ({printable(error)}); delete it and audit again") from error
    names = _names(inputs.table, design)
    if record.get("faces") != names:
        raise DataError(f"{printable(path)}: was made for other labels than the run has now; delete it and audit again")
    return design, names


def _names(table: LabelTable, design: AuditDesign) -> list[str]:
    return [str(plain(table.faces[row])) for row in design.rows]


def _digest(names: list[str]) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def _read_answers(path: Path) -> dict[str, str | None]:
    """Face -> label, None for no answer, from what the page saved."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{printable(path)}: is too large for a file of answers")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)}: is no UTF-8 text") from error
    try:
        if text.lstrip().startswith("{"):
            pairs = [(entry["face"], entry["answer"]) for entry in json.loads(text)["answers"]]
        else:
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            pairs = [(row["face"], row["answer"] or None) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{printable(path)}: is neither the JSON nor the CSV that the page saves ({printable(error)})"
        ) from error
    given: dict[str, str | None] = {}
    for face, answer in pairs:
        if not isinstance(face, str) or not (answer is None or isinstance(answer, str)) or face in given:
            raise DataError(f"{printable(path)}: names {printable(face)} twice, or holds what is no text")
        given[face] = answer
    return given
