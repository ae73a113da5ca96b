"""Several classified runs become one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...reports.html.document import write_report
from ...reports.markdown import comparison_markdown
from ...reports.pages.comparison import build_comparison
from ...reports.report_json import comparison_json
from ...reports.samples import MOST, Sample, compare_samples, split_by_psi
from ...runtime.errors import UsageError
from ..run_folder.folder import existing_run
from ..run_folder.inputs import read_inputs
from ..run_folder.pictures import FaceReader
from .report import now


def compare_runs(names: Sequence[str], out: Path) -> Path:
    """Write a comparison of classified runs as a page, which is returned, and its numbers beside it.

    A run over several truncations counts as one set of faces for each.

    Raises:
        UsageError: too few or too many sets of faces.
        DataError: a run is missing or has no labels, or the runs have different labels.
    """
    return write_report(build_comparison(_samples(names), created=now()), out.parent, out.stem)[0]


def compare_markdown(names: Sequence[str]) -> str:
    """The numbers of a comparison as Markdown; arguments and errors as for :func:`compare_runs`."""
    compared = compare_samples(_samples(names))
    title = f"Facial expressions: {' / '.join(sample.name for sample in compared.samples)}"
    return comparison_markdown(comparison_json(compared, now(), title))


def _samples(names: Sequence[str]) -> list[Sample]:
    if len(set(names)) < len(names):
        raise UsageError("--compare names a run twice")
    samples: list[Sample] = []
    for name in names:
        run = existing_run(name)
        inputs = read_inputs(run)
        samples += split_by_psi(Sample(run.name, inputs.table, run.record, FaceReader(run), inputs.validation))
    if not 2 <= len(samples) <= MOST:
        raise UsageError(
            f"--compare: {len(samples)} set(s) of faces; give 2 to {MOST}, where a run over several truncations counts "
            "as one for each"
        )
    return samples
