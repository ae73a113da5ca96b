"""``fergan plan``. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..engines.plan import Estimate, Figures


@click.command(epilog="Example: fergan plan --n 10000000 --network ffhq --gpus 64 --measured figures.json")
@click.option("--n", type=click.IntRange(1), required=True, help="Faces.")
@click.option("--network", metavar="FILE|NAME", help="The generator.  [default: the best bundled]")
@click.option("--gpus", type=click.IntRange(1), metavar="G", help="GPUs, one a worker.  [default: none]")
@click.option(
    "--machines", type=click.IntRange(1), default=1, show_default=True, help="Without GPUs: such as the one measured."
)
@click.option(
    "--images", metavar="WHICH", help="As for run: all, none, tar, sample:1000.  [default: all; a sample if many]"
)
@click.option("--measured", metavar="FILE", help="Your figures: python -m benchmarks.pipeline --json FILE.")
@click.option(
    "--tflops",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Of a GPU in use, where none was measured.",
)
@click.option("--price", type=click.FloatRange(0), metavar="P", help="Of a GPU or machine for an hour.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def plan(as_json: bool, **options: Any) -> None:
    """Estimate what a large run would take: time, storage and cost.

    Everything it says is an estimate, from figures that were measured on one machine.
    """
    from ..engines.plan import PlanOptions
    from ..engines.plan import plan as step

    wanted = PlanOptions(**options)
    figures, result = step(wanted)
    if as_json:
        import json

        click.echo(json.dumps({"estimate": asdict(result), "figures": asdict(figures)}, indent=1))
        return
    for line in _lines(wanted.n, figures, result, "GPUs" if wanted.gpus is not None else "machines"):
        click.echo(line)


def _lines(n: int, figures: Figures, result: Estimate, kind: str) -> list[str]:
    rows = [
        ("Workers", f"{result.workers:,} {kind}, {result.shards:,} shards of {result.shard:,} faces"),
        ("A face", f"{1000 * result.worker_face:.3g} ms of one worker"),
        ("Time", _time(result.total)),
        ("  until the first face", _time(result.start)),
        ("  making and judging faces", _time(result.work)),
        ("  merging labels and the report, by one process", _time(result.serial)),
        ("Labels", _bytes(result.label_bytes)),
        ("Pictures", f"{_bytes(result.picture_bytes)} in {result.pictures:,}" if result.pictures else "none are kept"),
        (f"{kind.capitalize().removesuffix('s').replace('Gpu', 'GPU')} hours", f"{result.worker_hours:,.1f}"),
    ]
    if result.cost is not None:
        rows.append(("Cost", f"{result.cost:,.2f}, at the price given"))
    limit = "the workers" if result.limit == "workers" else "the one process that takes their results in"
    rows.append(("What limits it", f"{limit}; more than {result.most_workers:,} workers shorten nothing"))
    width = max(len(name) for name, _ in rows)
    lines = [f"ESTIMATE for {n:,} faces, from {figures.about}", ""]
    lines += [f"{name:<{width}}  {value}" for name, value in rows]
    return [*lines, "", *(f"Assumed: {note}." for note in result.assumptions)]


def _time(seconds: float) -> str:
    """Two units at most: ``2 d 3 h``, ``4 min 10 s``, ``0.5 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // below} {smaller}"
    return f"{whole} s"


def _bytes(count: float) -> str:
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {name}"
    return f"{count / 1e3:.3g} kB"
