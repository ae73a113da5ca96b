"""FER+: ten crowd votes for every FER2013 row (Barsoum et al. 2016, arXiv:1608.01041).

``fer2013new.csv`` has one line per row of ``fer2013.csv``, in the same order:
``Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF`` (NF: not a face).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...runtime.errors import DataError, UsageError
from ..labels import FERPLUS_MODES

COLUMNS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)


def read_ferplus(path: str | Path, usage: np.ndarray) -> np.ndarray:
    """Read the votes that belong to the rows of a FER2013 file.

    Args:
        path: ``fer2013new.csv``, or its first lines.
        usage: str [N], the Usage column of the FER2013 rows the votes shall belong to, in original row order
            (any prefix of the official file).

    Returns:
        float32 [N, 10]: each row's votes as shares that sum to 1, columns as in :data:`COLUMNS`; a row without votes
        is all zero.

    Raises:
        DataError: the file is not FER+'s, is shorter than the rows, or its Usage column disagrees with them, in
            which case votes and faces would not belong together; or a vote is not a number of 0 or more.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as FER+'s fer2013new.csv ({error})") from error
    missing = [name for name in ("Usage", *COLUMNS) if name not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; expected FER+'s fer2013new.csv")
    if len(table) < len(usage) or not np.array_equal(table["Usage"].to_numpy()[: len(usage)], usage):
        raise DataError(
            f"{path}: its rows are not those of the FER2013 file (the Usage columns differ); "
            "both files must be in their original order"
        )
    numbers = table[list(COLUMNS)][: len(usage)].apply(pd.to_numeric, errors="coerce")
    votes = numbers.to_numpy(dtype=np.float32)
    bad = ~(np.isfinite(votes) & (votes >= 0)).all(axis=1)
    if bad.any():
        raise DataError(f"{path}: line {bad.argmax() + 2}: a vote is not a number of 0 or more")
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)


def ferplus_targets(votes: np.ndarray, mode: str = "majority", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Training targets from votes by one of the four schemes of the paper (section 3), with its trainer's rules.

    In all of them a single vote for a label is noise and does not count. Each scheme chooses labels; a row is left out
    where they are more than three or hold half of the remaining votes or less, or where ``unknown`` or ``NF`` has more
    votes than any emotion. The targets share out the eight emotions among those chosen.

    - ``majority``: the label that has more than half of the votes.
    - ``probability``: of the labels below, one a row, drawn with their shares as probabilities.
    - ``crossentropy``: the most voted labels, those with equal votes together, until they hold 75 % of the votes or are
      three, with the shares of their votes.
    - ``multi_target``: every label with at least 30 % of the votes, alike.

    Args:
        votes: [N, 10] counts or shares of votes, columns as in :data:`COLUMNS`; shares as of
            :func:`read_ferplus` are taken as tenths, for rows have ten votes (one row of the file has nine).
        mode: one of :data:`fergan.data.labels.FERPLUS_MODES`.
        seed: of the draws of ``probability``; another seed for every epoch draws anew.

    Returns:
        float32 [N, 8], rows over :data:`fergan.data.labels.FERPLUS` that sum to 1, and bool [N], which rows to keep;
        rows that are left out are all zero.

    Raises:
        UsageError: an unknown mode.
    """
    if mode not in FERPLUS_MODES:
        raise UsageError(f"FER+ mode {mode!r} is not one of {', '.join(FERPLUS_MODES)}")
    votes = np.asarray(votes, dtype=np.float64)
    total = votes.sum(axis=1, keepdims=True)
    counts = np.rint(votes * 10) if total.size and total.max() <= 1 + 1e-4 else votes
    counts = np.where(counts <= 1, 0, counts)
    left = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(left, 1)
    if mode == "majority":
        chosen = shares > 0.5
    elif mode == "multi_target":
        chosen = shares >= 0.3
    else:
        chosen = _leading(shares)
    kept = (chosen.sum(axis=1) <= 3) & ((shares * chosen).sum(axis=1) > 0.5)
    kept &= (left[:, 0] > 0) & (shares[:, :8].max(axis=1) >= shares[:, 8:].max(axis=1))
    targets = (chosen if mode in ("majority", "multi_target") else shares * chosen)[:, :8].astype(np.float64)
    targets[~kept] = 0
    targets /= np.maximum(targets.sum(axis=1, keepdims=True), 1e-12)
    if mode == "probability" and kept.any():
        draw = np.random.default_rng(seed).random((int(kept.sum()), 1))
        picked = (np.cumsum(targets[kept], axis=1) <= draw).sum(axis=1).clip(max=7)
        targets[kept] = np.eye(8)[picked]
    return targets.astype(np.float32), kept


def _leading(shares: np.ndarray) -> np.ndarray:
    """bool [N, 10]: the most voted labels, equals together, until they hold three quarters or are three.

    What comes after ``unknown`` or ``NF`` is not taken, and those two only where no emotion comes before them.
    """
    above = shares[:, None, :] > shares[:, :, None]  # [N, label, other]: whether the other has more votes
    held = (above * shares[:, None, :]).sum(axis=2)
    chosen = (shares > 0) & (held < 0.75 - 1e-9) & (above.sum(axis=2) < 3) & ~above[:, :, 8:].any(axis=2)
    chosen[:, 8:] &= ~chosen[:, :8].any(axis=1, keepdims=True)
    return chosen
