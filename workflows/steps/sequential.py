"""A gate for nightly runs: looks at one limit that share one chance of a false alarm, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ...reports.formatting import plural
from ...reports.statistics.sequential import Look, label_excess, sample_excess, spending
from ...runtime.errors import DataError, UsageError
from ...runtime.files import json_digest, json_text, printable, write_atomically
from ..run_folder.folder import RunFolder
from ..run_folder.table import read_table
from .check import read_reference

_FORMAT = {"name": "fergan.check", "version": 1}


@dataclass(frozen=True)
class _Limit:
    """The settings that the looks of one file have in common.

    `terms` are written into the file; `shares` [K] are the reference's, `sample` [K] its counts where it is a sample,
    and `slack` is its own error, in total variation. `warning` is the reference's.
    """

    terms: dict[str, Any]
    shares: np.ndarray
    sample: np.ndarray | None
    slack: float
    warning: str = ""

    def p_value(self, counts: np.ndarray) -> float:
        max_tv = self.terms["max_tv"]
        if self.sample is None:
            return label_excess(counts, self.shares, min(1.0, max_tv + self.slack))
        return sample_excess(counts, self.sample, max_tv)


def check_again(
    run: RunFolder, against: str, max_tv: float, state: Path, *, alpha: float = 0.05, patience: float = 60
) -> tuple[Look, str]:
    """Look once more whether a run's labels are further than `max_tv` from a reference, note it in `state`, and say so.

    The same labels as at the last look are not a new look: they get its answer and spend nothing. Of checks that run at
    the same time each waits for the one before it.

    Args:
        against: as for :func:`fergan.workflows.steps.check.check`.
        max_tv: the total variation distance that is allowed, 0..1.
        state: a file, made at the first look, that holds the looks so far; it belongs to one reference and limit.
        alpha: the chance of any false alarm, over all looks.
        patience: seconds to wait for another check of the same file.

    Raises:
        UsageError: the file was begun with another reference, limit, alpha or labels.
        DataError: the run, the reference or the file cannot be read, or another check keeps the file.
    """
    table, _ = read_table(run)
    counts = np.bincount(table.codes, minlength=len(table.classes))
    limit = _limit(run, against, table.classes, max_tv, alpha)
    try:
        with FileLock(state.with_name(f".{state.name}.lock"), timeout=patience):
            look = _look(run, counts, state, limit)
    except Timeout as error:
        raise DataError(
            f"--sequential {printable(state)}: another check has used it for {patience:g} s; run again"
        ) from error
    except OSError as error:
        raise DataError(f"--sequential {printable(state)}: cannot be locked ({error.strerror or error})") from error
    word = "drifted" if look.alarm else "not shown to have drifted"
    return look, (
        f"{word}: look {look.number} at {plural(int(counts.sum()), 'face')} has p {look.p_value:.3g} against a total "
        f"variation of at most {max_tv:g} from {printable(limit.terms['reference'])}; it may spend {look.spends:.3g} "
        f"of {alpha:g}" + (f"; {limit.warning}" if limit.warning else "")
    ).replace("\N{NO-BREAK SPACE}", " ")


def _look(run: RunFolder, counts: np.ndarray, state: Path, limit: _Limit) -> Look:
    """The last look of `state` if it saw these labels, else a new one, which is added to it."""
    looks = _read(state, limit.terms)
    digest = json_digest([run.name, counts.tolist()])
    if looks and looks[-1]["labels"] == digest:
        return Look(*(looks[-1][key] for key in ("number", "spends", "p_value")))
    try:
        found = limit.p_value(counts)
    except ValueError as error:
        raise DataError(f"{printable(run.path)}: {error}") from error
    look = Look(len(looks) + 1, spending(len(looks) + 1, limit.terms["alpha"]), found)
    looks.append({**asdict(look), "alarm": look.alarm, "run": run.name, "n": int(counts.sum()), "labels": digest})
    write_atomically(state, json_text({"format": _FORMAT, **limit.terms, "looks": looks}).encode())
    return look


def _limit(run: RunFolder, against: str, classes: tuple[str, ...], max_tv: float, alpha: float) -> _Limit:
    """The limit that every look is held against.

    Labels are compared with the labels that the true shares of a named reference would get. That table rests on
    validation faces; how far it may be off (total variation, all but alpha / 10 of the draws) is added to the limit.
    """
    theirs, slack, warning = read_reference(against, run, classes), 0.0, ""
    sample: np.ndarray | None
    if isinstance(theirs, RunFolder):
        other, _ = read_table(theirs)
        if other.classes != classes:
            raise UsageError(f"--reference {printable(against)}: has other labels than the run")
        sample = np.bincount(other.codes, minlength=len(classes))
        shares = sample / len(other)
    else:
        if theirs.error is not None:
            slack = float(np.quantile(np.abs(theirs.error).sum(axis=1) / 2, 1 - alpha / 10))
        sample, shares, warning = theirs.counts, theirs.shares, theirs.warning
    terms = {
        "reference": theirs.name,
        "reference_digest": json_digest([list(classes), shares.tolist(), None if sample is None else sample.tolist()]),
        "max_tv": max_tv,
        "alpha": alpha,
    }
    return _Limit(terms, shares, sample, slack, warning)


def _read(state: Path, terms: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        record = json.loads(state.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{printable(state)}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(state, error) from error
    try:
        if record["format"] != _FORMAT:
            raise ValueError("it is of another format")
        begun, looks = {key: record[key] for key in terms}, list(record["looks"])
        for number, look in enumerate(looks, 1):
            spends = spending(number, begun["alpha"])
            if look["number"] != number or look["spends"] != spends or not 0 <= look["p_value"] <= 1:
                raise ValueError(f"look {number} is missing or altered")
            look["labels"]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _damaged(state, error) from error
    changed = [key for key, value in terms.items() if begun[key] != value]
    if changed:
        raise UsageError(
            f"--sequential {printable(state)}: was begun with another {' and '.join(changed)}; the looks of one file "
            "share one reference and limit, so begin another file"
        )
    return looks


def _damaged(state: Path, error: Exception) -> DataError:
    return DataError(
        f"--sequential {printable(state)}: holds no looks of a sequential check, or is damaged ({printable(error)}); "
        "restore it from a copy, or begin another file, whose looks have a chance of a false alarm of their own"
    )
