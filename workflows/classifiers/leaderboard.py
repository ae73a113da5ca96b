"""Reading evaluations back, to stand in one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ...reports.formatting import moment
from ...reports.pages.leaderboard import leaderboard_data, leaderboard_markdown, leaderboard_page
from ...reports.statistics.differences.ranking import Entry, Ranking, rank
from ...runtime.errors import DataError
from ...runtime.files import json_text, printable, read_npz


def read_tables(paths: Sequence[str | Path]) -> list[Ranking]:
    """Rankings of evaluations.

    Args:
        paths: ``evaluation.json`` files, or folders that hold some at any depth.

    Raises:
        DataError: a file is missing or is not an evaluation, or a folder holds none.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.rglob("evaluation.json")) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{printable(path)}: holds no evaluation.json; 'fergan evaluate' writes one")
        files += found
    return rank([_read(path) for path in files])


def render_tables(rankings: Sequence[Ranking], kind: str) -> str:
    """The rankings as the text of a file: ``md``, ``html`` or ``json``."""
    if kind == "md":
        return leaderboard_markdown(rankings)
    if kind == "json":
        return json_text(leaderboard_data(rankings))
    return leaderboard_page(rankings, moment(datetime.now(UTC).isoformat()))


def _read(path: Path) -> Entry:
    try:
        data: Any = json.loads(path.read_bytes())
        if data["format"] != {"name": "fergan.evaluation", "version": 1}:
            raise ValueError("it is of another format")
        right = _right(path.with_name("answers.npz"))
        if right is not None and int(right.sum()) != data["views"]["single"]["correct"]:
            raise ValueError("answers.npz beside it is of another evaluation")
        rank([Entry(data, right)])  # all that is needed is there
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{printable(path)}: is not an evaluation that 'fergan evaluate' wrote ({error})") from error
    return Entry(data, right)


def _right(path: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    stored = read_npz(path, "run 'fergan evaluate' again")
    return np.asarray(stored["predicted"] == stored["labels"])
