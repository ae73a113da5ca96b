"""``fergan run ... --plan``. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ...runtime.errors import UsageError
from .options import AT_LEAST_ONE, POSITIVE, first_given, format_option, together

if TYPE_CHECKING:
    from ..engines.plan import Estimate, Figures


plan_options = together(
    click.option("--plan", is_flag=True, help="Estimate time, storage and cost; run nothing."),
    click.option("--gpus", type=AT_LEAST_ONE, metavar="G", help="With --plan, count on G GPUs, one for each worker."),
    click.option("--machines", type=AT_LEAST_ONE, metavar="M", help="With --plan, count on M machines without GPUs."),
    click.option("--measured", metavar="FILE", help="With --plan, read figures of 'python -m benchmarks.pipeline'."),
    click.option("--tflops", type=POSITIVE, help="With --plan, assume GPUs of this speed, in TFLOP/s.  [default: 10]"),
    click.option(
        "--price", type=click.FloatRange(0), help="With --plan, count this price for an hour of a GPU or machine."
    ),
    format_option("text", "json", help="With --plan, print in this form; json is for programs."),
)
"""``--plan`` and what it needs to know; taken out again by :func:`print_plan`."""


def print_plan(options: dict[str, Any]) -> bool:
    """Print the estimate if ``--plan`` was given, and take its options out; whether it was given.

    Raises:
        UsageError: an option goes with ``--plan``, which was not given, or the plan cannot be made.
    """
    planned, form = options.pop("plan"), options.pop("format")
    given = {name: options.pop(name) for name in ("gpus", "machines", "measured", "tflops", "price")}
    if not planned:
        if name := first_given(given, *given):
            raise UsageError(f"{name} goes with --plan")
        return False
    if options["want"] is not None:
        raise UsageError("--plan and --want exclude each other: how many seeds a search takes is not known before")
    from ...stylegan.zoo import chosen_network
    from ..engines.plan import PlanOptions
    from ..engines.plan import plan as step
    from ..run_folder.seeds import seed_sequence
    from .generate import DEFAULT_N

    n = len(seed_sequence(options["seeds"])) if options["seeds"] is not None else options["n"] or DEFAULT_N
    n *= len(values.split(",")) if (values := options["edit_sweep"] or options["psi_sweep"]) else 1
    wanted = PlanOptions(
        n=n,
        network=chosen_network(options["network"], options["class_index"]),
        pictures=options["pictures"],
        **{name: value for name, value in given.items() if value is not None},
    )
    figures, result = step(wanted)
    if form == "json":
        click.echo(json.dumps({"estimate": asdict(result), "figures": asdict(figures)}, indent=1))
        return True
    for line in _lines(wanted.n, figures, result, "GPUs" if wanted.gpus is not None else "machines"):
        click.echo(line)
    return True


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
