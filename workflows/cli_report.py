"""``fergan report`` and ``fergan audit-labels``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import click

from ..runtime.errors import DataError, UsageError
from .cli_options import device_option

run_option = click.option(
    "--run", "run_name", default="default", show_default=True, metavar="NAME", help="Run folder: runs/NAME, or a path."
)


@click.command(epilog="Example: fergan report --compare stylegan2 --compare dcgan")
@run_option
@click.option("--compare", multiple=True, metavar="NAME", help="Compare runs instead: give it once for each, 2 to 6.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "md"]),
    default="html",
    show_default=True,
    help="md: the numbers as Markdown for a log, on standard output unless --out is given.",
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
    "--sensitivity-faces",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    metavar="N",
    help="The sample's size.",
)
@click.option("--model", metavar="FILE", help="For --sensitivity: the classifier's file, where it is not bundled.")
@device_option
def report(
    run_name: str,
    compare: tuple[str, ...],
    kind: str,
    out: str | None,
    sensitivity: bool,
    sensitivity_faces: int,
    model: str | None,
    device: str,
) -> None:
    """Write the report of a classified run, or a comparison of several: one HTML file and a JSON file.

    The page is complete in itself and loads nothing.
    """
    if model and not sensitivity:
        raise UsageError("--model goes with --sensitivity: a report by itself needs no classifier")
    if compare:
        if sensitivity:
            raise UsageError("--compare and --sensitivity exclude each other; measure each run by itself first")
        from .compare import compare_markdown, compare_runs

        if kind == "md":
            _give(compare_markdown(compare), out)
        else:
            click.echo(f"comparison in {compare_runs(compare, Path(out or 'comparison.html'))}")
        return
    from .report import report as step
    from .report import report_markdown
    from .run_folder import RunFolder

    run = RunFolder(run_name)
    if not run.record:
        raise DataError(f"{run.path}: there is no such run; 'fergan run' or 'fergan generate' makes one")
    with run.lock():
        if sensitivity:
            from .progress import progress
            from .sensitivity import measure_sensitivity

            with progress("Judging again") as show:
                measure_sensitivity(run, sensitivity_faces, model, device, show)
        if kind == "md":
            _give(report_markdown(run), out)
        else:
            click.echo(f"report in {step(run, out=None if out is None else Path(out))}")


@click.command("audit-labels", epilog="Example: fergan audit-labels --run first --n 200")
@run_option
@click.option("--n", type=click.IntRange(2), default=200, show_default=True, help="Faces to label, of all labels.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of faces.")
@click.option("--answers", metavar="FILE", help="The JSON or CSV that the page saved: keep it in the run folder.")
def audit_labels(run_name: str, n: int, seed: int, answers: str | None) -> None:
    """Have people label a sample of the faces, without the classifier's labels, and read their answers back.

    The first call writes runs/NAME/audit.html: open it and label by keyboard. The second, with --answers, reads what
    the page saved; the report then shows an estimate that does not rest on the classifier being right.
    """
    from .audit_labels import import_answers, write_audit_page
    from .run_folder import RunFolder

    run = RunFolder(run_name)
    if not run.record:
        raise DataError(f"{run.path}: there is no such run; 'fergan run' or 'fergan generate' makes one")
    with run.lock():
        if answers is None:
            page, count = write_audit_page(run, n, seed)
            click.echo(f"{count} faces to label in {page}")
        else:
            answered, shown = import_answers(run, Path(answers))
            click.echo(f"{answered} of {shown} faces have an answer; now run 'fergan report --run {run_name}'")


def _give(text: str, out: str | None) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    from ..runtime.files import write_atomically

    write_atomically(out, text.encode())
    click.echo(f"report in {out}")
