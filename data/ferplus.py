"""FER+: ten crowd votes for every FER2013 row (Barsoum et al. 2016, arXiv:1608.01041).

``fer2013new.csv`` has one line per row of ``fer2013.csv``, in the same order:
``Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF`` (NF: not a face).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .errors import DataError

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
            which case votes and faces would not belong together.
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
    votes = table[list(COLUMNS)].to_numpy(dtype=np.float32)[: len(usage)]
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
