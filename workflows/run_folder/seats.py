"""The judges of a run: the first keeps its labels in the run folder itself, each further one in a folder of its own.

    runs/NAME/labels/, labels.csv, skipped.csv, validation.npz      of the first judge
              judges/JUDGE/labels/, labels.csv, …                   the same files of each further one

``run.json`` holds their settings under ``classify`` and ``judges``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...classify.bundled import BEST
from ...data.run_record.run import RunRecord
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, printable
from .folder import RunFolder


class JudgeFolder(RunFolder):
    """The labels of a further judge, as a run folder of the same faces."""

    def __init__(self, run: RunFolder, judge: str) -> None:
        self.run, self.judge = run, judge
        self.path, self.name = run.path / "judges" / judge, run.name

    @property
    def faces(self) -> Path:
        return self.run.faces

    @property
    def record(self) -> RunRecord:
        """``run.json`` with this judge's entries in place of the first one's."""
        return self.run.record.of_judge(self.judge)

    def put(self, **entries: Any) -> None:
        """Record entries of this judge."""
        make_folder(self.path)
        self.run.keep(self.run.record.changed(self.judge, **entries))


def seats(run: RunFolder) -> list[RunFolder]:
    """The folders of all judges of a run, the first one's first.

    Raises:
        DataError: a name is not a judge's.
    """
    names = list(run.record.judges or ())
    if any(folder_name(name) != name for name in names):
        raise DataError(f"{printable(run.path / 'run.json')}: the judges in it are damaged")
    return [run, *(JudgeFolder(run, name) for name in names)]


def judge_name(seat: RunFolder) -> str:
    """The name of a judge in the run."""
    if isinstance(seat, JudgeFolder):
        return seat.judge
    judged = seat.classify
    name = (judged.name or judged.model) if judged else None
    return folder_name(name) if name else ""


def find_seat(run: RunFolder, name: str | None) -> RunFolder:
    """The folder of a judge; of the first one for None.

    Raises:
        UsageError: the run has no judge of this name.
    """
    if name is None:
        return run
    found = {judge_name(seat): seat for seat in seats(run)}
    if name == "best" and name not in found:
        name = BEST
    if name not in found:
        known = ", ".join(printable(other) for other in found if other) or "none yet"
        raise UsageError(f"--judge {printable(name)}: {printable(run.path)} has no such judge; its judges: {known}")
    return found[name]


def folder_name(name: str) -> str:
    """The name of a judge as that of a folder: letters, digits, dots, dashes and underscores, none of them first a dot.

    Raises:
        UsageError: nothing of the name is left.
    """
    found = re.sub(r"[^\w.-]", "_", name).lstrip(".")[:100]
    if not found.strip("_"):
        raise UsageError(f"--model: {printable(name)!r} is not a name for a judge; give one: --model NAME=FILE")
    return found
