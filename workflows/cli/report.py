"""``fergan report``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import click

from ...runtime.errors import UsageError
from .options import AT_LEAST_ONE, device_option, format_option, open_option, run_option
from .output import say_labels


@click.command(epilog="Example: fergan report --compare stylegan2 --compare dcgan")
@run_option
@click.option("--compare", multiple=True, metavar="NAME", help="Compare runs instead: give it once for each, 2 to 6.")
@format_option(
    "html", "md", help="Write the page, or print the numbers in this form for a log (a file where --out is given)."
)
@click.option(
    "--out",
    metavar="FILE",
    help="Write here.  [default: report.html in the run folder, comparison.html in this folder; .json beside it]",
)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="First judge a sample of the faces under other crops and filters; kept in the run folder.",
)
@click.option(
    "--sensitivity-faces", type=AT_LEAST_ONE, default=200, metavar="N", help="With --sensitivity, judge N faces."
)
@click.option(
    "--model",
    metavar="FILE",
    help="With --sensitivity, judge with this file, where the run's classifier is not bundled.",
)
@open_option
@device_option
def report(
    run_name: str,
    compare: tuple[str, ...],
    format: str,
    out: str | None,
    sensitivity: bool,
    sensitivity_faces: int,
    model: str | None,
    show_page: bool,
    device: str,
) -> None:
    """Write the report of a classified run, or a comparison of several: one HTML file and a JSON file.

    The page is complete in itself and loads nothing.
    """
    if show_page and format == "md":
        raise UsageError("--open shows the page; leave out --format md")
    if model and not sensitivity:
        raise UsageError("--model goes with --sensitivity: a report by itself needs no classifier")
    if compare:
        if sensitivity:
            raise UsageError("--compare and --sensitivity exclude each other; measure each run by itself first")
        from ..steps.compare import compare_markdown, compare_runs

        if format == "md":
            _give(compare_markdown(compare), out)
        else:
            _tell("comparison", compare_runs(compare, Path(out or "comparison.html")), show_page)
        return
    from ..generators.edited import measure_edited
    from ..run_folder.folder import existing_run
    from ..steps.report import report as step
    from ..steps.report import report_markdown

    run = existing_run(run_name)
    with run.lock():
        if sensitivity:
            from ..progress import progress
            from ..steps.sensitivity import measure_sensitivity

            with progress("Judging again") as show:
                measure_sensitivity(run, sensitivity_faces, model, device, show)
        measure_edited(run, device=device)
        if format == "md":
            _give(report_markdown(run), out)
        else:
            page = step(run, out=None if out is None else Path(out))
            say_labels(run)
            _tell("report", page, show_page)


def _tell(what: str, page: Path, show: bool) -> None:
    click.echo(f"{what} in {page}")
    if show:
        click.launch(str(page))


def _give(text: str, out: str | None) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    from ...runtime.files import utf8_text, write_atomically

    write_atomically(out, utf8_text(text).encode())
    click.echo(f"report in {out}")
