"""A human audit: a page on which people label a sample of faces, and what they answered, back in the run folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...reports.pages.label_audit import build_audit_page
from ...reports.settings import plain
from ...reports.statistics.answers import CANNOT_TELL, NO_ANSWER, AuditDesign
from ...reports.statistics.label_audit import (
    STRATIFIED_FROM,
    AuditEstimate,
    prediction_powered,
    stratified_sample,
)
from ...reports.statistics.table import LabelTable
from ...runtime.errors import DataError, UsageError, counted
from ...runtime.files import json_digest, json_text, printable, read_json, write_atomically, write_together
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import RunInputs, read_inputs
from ..run_folder.pictures import FaceReader

FORMAT = 3
_CANNOT_TELL = False  # in JSON: an answer is a label, false where a person cannot tell, null where there is none
_ALLOCATIONS: dict[int, Literal["proportional", "neyman"]] = {1: "proportional", 2: "neyman", 3: "neyman"}  # by format
_MOST_BYTES = 64 * 2**20  # of a file of answers

Answer = str | bool | None


def write_audit_page(run: RunFolder, n: int = 200, seed: int = 0) -> tuple[Path, int]:
    """Choose faces and write the page to label them on, ``audit.html``; its path, and how many it shows.

    Args:
        run: a classified run.
        n: faces to label, at least 2; all of them where there are not more.
        seed: of the choice.

    Raises:
        DataError: there are no labels, or a picture is gone.
        UsageError: the run holds answers about another sample.
    """
    table = read_inputs(run).table
    path = run.audit
    held = read_json(path)
    answered = isinstance(held, Mapping) and _raters(held)
    asked = _asked(table, held) if answered else table
    design = _sample(asked, n, seed, FORMAT)
    names = _names(table, design)
    if answered:
        if held.get("faces") != names:
            raise UsageError(
                f"{printable(path)} holds answers about another sample of faces; give the same --n and --seed, or "
                "delete it to start over"
            )
    else:
        record = {"format": FORMAT, "n": n, "seed": seed, "of": len(table), "faces": names, "raters": None}
        write_together({path: json_text(record)}, "the sample")
    reader = FaceReader(run)
    html = build_audit_page(
        run=run.name,
        digest=json_digest(names),
        classes=table.classes,
        faces=names,
        pictures=[reader(table.faces[row]) for row in design.rows],
    )
    write_together({run.audit_page: html}, "the page")
    return run.audit_page, len(names)


def import_answers(run: RunFolder, files: Sequence[Path]) -> tuple[AuditEstimate, int]:
    """Read the answers that the page gave, JSON or CSV, one file a person, and keep them in the run folder.

    Returns the estimate by these answers, and how many faces were shown.

    Raises:
        DataError: a file cannot be read, or its faces or labels are not those of the audit.
        UsageError: no audit of this run was begun, or there are more than two files.
    """
    if len(files) > 2:
        raise UsageError(f"{len(files)} files of answers; give those of one person or of two")
    inputs = read_inputs(run)
    record = read_json(run.audit)
    if record is None:
        raise UsageError(
            f"{printable(run.path)}: no audit was begun; run 'fergan audit labels --run {run.name}' and label the faces"
        )
    table, design, names = _design(inputs, record)
    ordered = [_ordered(_read_answers(file), names, table.classes, file) for file in files]
    estimate = _estimate(table, design, _codes(ordered, table.classes), files[0])
    kept = {**record, "raters": ordered}
    kept.pop("answers", None)
    write_atomically(run.audit, json_text(kept).encode())
    return estimate, len(names)


def _ordered(given: dict[str, Answer], names: list[str], classes: tuple[str, ...], path: Path) -> list[Answer]:
    """The answers of one person in the order of the design, checked."""
    known = set(names)
    unknown = [name for name in given if name not in known]
    if unknown or len(given) != len(names):
        what = (
            f"names {printable(unknown[0])}, which is not in this audit"
            if unknown
            else f"has {counted(len(given), 'face')}, the audit {len(names)}"
        )
        raise DataError(f"{printable(path)}: {what}; give the file that the page of this run wrote")
    labels = [str(plain(name)) for name in classes]
    for face, answer in given.items():
        if answer is not None and answer is not _CANNOT_TELL and answer not in labels:
            raise DataError(
                f"{printable(path)}: {printable(face)} has the answer {printable(answer)!r}, which is none of "
                f"{', '.join(map(printable, labels))}"
            )
    ordered = [given[name] for name in names]
    answered = sum(isinstance(answer, str) for answer in ordered)
    if answered < 2:
        raise DataError(f"{printable(path)}: has {answered} answers; an estimate needs at least two")
    return ordered


def _codes(raters: list[list[Answer]], classes: tuple[str, ...]) -> np.ndarray:
    codes: dict[Answer, int] = {str(plain(name)): code for code, name in enumerate(classes)}
    codes |= {None: NO_ANSWER, _CANNOT_TELL: CANNOT_TELL}
    return np.array([[codes[answer] for answer in answers] for answers in raters])


def read_audit(inputs: RunInputs) -> AuditEstimate | None:
    """The estimate by people, where a run holds their answers.

    Raises:
        DataError: the file is damaged or of other labels.
    """
    path = inputs.run.audit
    record = read_json(path)
    if record is None or (isinstance(record, Mapping) and not _raters(record)):
        return None
    table, design, names = _design(inputs, record)
    raters = _raters(record)
    try:
        fits = isinstance(raters, list) and all(len(answers) == len(names) for answers in raters)
        codes = _codes(raters, table.classes) if fits else None
    except (TypeError, KeyError):
        codes = None
    if codes is None:
        raise DataError(f"{printable(path)}: its answers do not fit its faces; delete it and audit again")
    return _estimate(table, design, codes, path)


def _raters(record: Mapping[str, Any]) -> Any:
    """Lists of answers, one a person; format 1 has one list."""
    if record.get("raters") is not None:
        return record["raters"]
    return None if record.get("answers") is None else [record["answers"]]


def _estimate(table: LabelTable, design: AuditDesign, codes: np.ndarray, path: Path) -> AuditEstimate:
    try:
        return prediction_powered(table, design, codes)
    except ValueError as error:
        raise DataError(f"{printable(path)}: {error}") from error


def _design(inputs: RunInputs, record: Any) -> tuple[LabelTable, AuditDesign, list[str]]:
    """The sample that a record is about, with the table that it is of, chosen anew and compared with what was shown."""
    path = inputs.run.audit
    try:
        if record["format"] not in _ALLOCATIONS:
            raise ValueError(f"format {record['format']}")
        table = _asked(inputs.table, record)
        design = _sample(table, int(record["n"]), int(record["seed"]), record["format"])
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{printable(path)}: is not an audit ({printable(error)}); delete it, then audit") from error
    names = _names(table, design)
    if record.get("faces") != names:
        raise DataError(
            f"{printable(path)}: was made for other labels than the run has now; label the faces as they were then, or "
            "move it away to audit anew"
        )
    return table, design, names


def _asked(table: LabelTable, record: Mapping[str, Any]) -> LabelTable:
    """The faces among which those of an audit were chosen; a run that has grown since has more after them."""
    of = record.get("of")
    return table.where(np.arange(len(table)) < of) if isinstance(of, int) and 0 < of < len(table) else table


def _sample(table: LabelTable, n: int, seed: int, form: int) -> AuditDesign:
    """The faces that an audit of a format shows; before format 3, samples of any size had strata."""
    smallest = STRATIFIED_FROM if form >= 3 else 0
    return stratified_sample(table, n, seed, _ALLOCATIONS[form], smallest)


def _names(table: LabelTable, design: AuditDesign) -> list[str]:
    return [str(plain(table.faces[row])) for row in design.rows]


def _read_answers(path: Path) -> dict[str, Answer]:
    """Face -> label, False for 'cannot tell', None for no answer, from what the page saved."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{printable(path)}: is too large for a file of answers")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)}: is not UTF-8 text") from error
    try:
        if text.lstrip().startswith("{"):
            pairs: list[tuple[Any, Any]] = [(entry["face"], entry["answer"]) for entry in json.loads(text)["answers"]]
        else:
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            pairs = [
                (row["face"], row["answer"] or (_CANNOT_TELL if row.get("cannot_tell") == "yes" else None))
                for row in rows
            ]
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{printable(path)}: is neither the JSON nor the CSV that the page saves ({printable(error)})"
        ) from error
    given: dict[str, Answer] = {}
    for face, answer in pairs:
        if (
            not isinstance(face, str)
            or not (answer is None or answer is False or isinstance(answer, str))
            or face in given
        ):
            raise DataError(f"{printable(path)}: names {printable(face)} twice, or holds something other than text")
        given[face] = answer
    return given
