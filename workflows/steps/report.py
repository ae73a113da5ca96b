"""Step three: labels become a page, or Markdown for a log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...reports.findings import evaluate, quality_notes
from ...reports.formatting import plural
from ...reports.html.document import write_report
from ...reports.judges import JudgeLabels
from ...reports.markdown import markdown
from ...reports.pages.report import build_report
from ...reports.report_json import report_data
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import RunInputs, read_judges, read_sensitivity
from ..run_folder.pictures import FaceReader, Picture, kept_rows, preparer
from ..run_folder.seats import judge_name
from .label_audit import read_audit


def report(run: RunFolder, pictures: Mapping[str, Picture] | None = None, out: Path | None = None) -> Path:
    """Write ``report.html`` and ``report.json`` of a classified run; the path of the page.

    Args:
        pictures: pictures that are still in memory, by file name; others are read from disk.
        out: another place for the page; the numbers go beside it.

    Raises:
        DataError: there are no labels, or a file of the run is damaged or cannot be written.
    """
    inputs, known = _known(run)
    kept = kept_rows(run, inputs.table)
    shown = kept is None or len(kept) > 0
    result = build_report(
        inputs.table,
        settings=inputs.run.record.values,
        load_face=FaceReader(run, pictures) if shown else None,
        prepare=preparer(inputs.run),
        among=kept if shown else None,
        created=now(),
        **known,
    )
    page = out or run.path / "report.html"
    return write_report(result, page.parent, page.stem)[0]


def report_markdown(run: RunFolder) -> str:
    """The numbers of a report as Markdown; nothing is written and no picture is read.

    Raises:
        DataError: as for :func:`report`.
    """
    inputs, known = _known(run)
    findings = evaluate(inputs.table, record=inputs.run.record, **known)
    return markdown(
        report_data(
            findings,
            record=inputs.run.record,
            created=now(),
            title=f"Facial expressions in {plural(len(inputs.table), 'face')}",
            notes=quality_notes(findings),
        )
    )


def _known(run: RunFolder) -> tuple[RunInputs, dict[str, Any]]:
    """The labels of the first judge, and all else that is known of the faces, as a report takes it."""
    (first, *others), failed = read_judges(run)
    return first, {
        "skipped": first.skipped,
        "validation": first.validation,
        "audit": read_audit(first),
        "preparation": read_sensitivity(first),
        "others": [JudgeLabels(judge_name(one.run), one.table, one.validation) for one in others],
        "judge": judge_name(first.run),
        "failed": failed,
    }


def now() -> str:
    """The time as reports tell it: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
