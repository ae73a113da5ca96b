"""The classifier's answers on labelled faces, as a run folder keeps them."""

from __future__ import annotations

import zipfile

import numpy as np

from ..reports.statistics.prevalence import Validation
from ..runtime.errors import DataError
from ..runtime.files import printable
from .run_folder import RunFolder


def read_validation(run: RunFolder) -> Validation | None:
    """``validation.npz`` of a run, None where its classifier came without one.

    Raises:
        DataError: the file is damaged.
    """
    if not run.validation.exists():
        return None
    try:
        with np.load(run.validation, allow_pickle=False) as stored:
            return Validation(str(stored["name"]), stored["labels"].astype(np.int64), stored["probabilities"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{printable(run.validation)}: is damaged ({error}); delete it and classify again") from error
