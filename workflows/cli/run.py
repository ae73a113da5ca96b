"""Options of ``fergan run`` that say who does the work and what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .classify import classify_options, to_classify
from .generate import generate_options, to_generate
from .options import AT_LEAST_ONE, device_option, force_option, open_option, run_option, taken, together
from .output import say_labels
from .plan import plan_options, print_plan
from .signals import stopped_by_sigterm
from .want import tell_wanted, to_want

if TYPE_CHECKING:
    from ..engines.options import EngineOptions

engine_options = together(
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="Work on this machine or on a Ray cluster.",
    ),
    click.option(
        "--workers",
        type=AT_LEAST_ONE,
        metavar="N",
        help="Work in N processes, pinned to cores or GPUs.  [default: this one; with Ray all that the cluster holds]",
    ),
    click.option(
        "--address", metavar="ADDRESS", help="Use this Ray cluster: local (a new one here), auto or ray://HOST."
    ),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(0, 1),
        metavar="G",
        help="With Ray, give each worker this part of a GPU.  [default: 1 where the cluster has GPUs]",
    ),
    click.option(
        "--pictures",
        metavar="WHICH",
        help="Keep these pictures: all, none, tar (WebDataset), sample:1000.  [default: all, beyond 100,000 a sample]",
    ),
    click.option("--storage", metavar="URI", help="Keep the run at s3://, gs:// or file:// too; pictures only there."),
)


def to_engine(options: dict[str, Any]) -> EngineOptions:
    """The typed options of :func:`engine_options`."""
    from ..engines.options import EngineOptions

    return taken(EngineOptions, options)


@click.command(epilog="Example: fergan run --n 500 --run first")
@generate_options
@classify_options
@engine_options
@plan_options
@open_option
@run_option
@force_option
@device_option
def run(run_name: str, force: bool, show_page: bool, **options: Any) -> None:
    """Generate, classify and report at once, by one process or many.

    A run that was stopped, killed or damaged is finished by the same command, with the same labels; with a larger --n
    it grows. With --plan nothing is run: time, storage and cost are estimated from figures measured on one machine.
    """
    if print_plan(options):
        return
    labels = to_classify(options)
    want = to_want(options, labels)
    faces, engine = to_generate(options), to_engine(options)
    from ..engines.run import run_all
    from ..generators.catalogue import ensure_judges, ensure_network
    from ..progress import progress, warn
    from ..run_folder.folder import RunFolder

    folder = RunFolder(run_name, force=force)
    ensure_network(faces.network)
    ensure_judges(
        *(one.model for one in labels.each()), *([] if want is None else (want.judge.model, want.second_judge))
    )
    with stopped_by_sigterm(), folder.lock(), progress("Running", into=folder.path) as show:
        page = run_all(folder, faces, labels, show, engine, want, warn)
    say_labels(folder)
    if show_page:
        click.launch(str(page))
    click.echo(f"report in {page}")
    if made := folder.record.labels:  # not where the first of several judges failed
        click.echo(f"labels sha256 {made.sha256}")
    if want is not None:
        tell_wanted(folder)
