"""The command that judges a generator. Like ``cli``, imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click

from ...classify.bundled import YARDSTICK
from ...runtime.errors import UsageError
from ...runtime.files import require_folder_of
from .options import (
    AT_LEAST_ONE,
    CROP,
    class_option,
    device_option,
    first_given,
    images_option,
    network_option,
    psi_option,
    seed_option,
    taken,
)
from .output import print_table

_GOOD = {
    "kid": "low",
    "fid": "low",
    "precision": "high",
    "recall": "high",
    "density": "near 1",
    "coverage": "high",
    "sliced_wasserstein": "low",
    "vendi": "near floor",
    "fld_gap": "near floor",
    "nearest": "near 0.5",
    "kid_of_class": "low",
    "agreement": "near floor",
}
_TITLE = {
    "kid": "KID x 1000",
    "fid": "FID",
    "sliced_wasserstein": "Sliced Wasserstein",
    "vendi": "Vendi score",
    "fld_gap": "FLD gap",
    "nearest": "Nearer than reals",
    "kid_of_class": "KID x 1000",
}


@click.command(epilog="Example: fergan metrics --data fer2013.csv --out metrics.jsonl --neighbours sheet.png")
@click.option(
    "--data", metavar="DIR|ZIP|CSV", help="Read the real pictures of this folder, zip or fer2013.csv (Training)."
)
@network_option
@images_option
@click.option(
    "--held-out", metavar="DIR|ZIP|CSV", help="Read real pictures that were not trained on, and add the FLD gap."
)
@click.option(
    "--n",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Compare N pictures of each side.  [default: half of the data, at most 5000]",
)
@click.option("--repeats", type=AT_LEAST_ONE, default=5, help="Repeat the comparison this often, with new fakes.")
@psi_option
@class_option
@seed_option("the first face and the choice of pictures")
@click.option(
    "--features",
    metavar="LIST",
    default="fer",
    help="Compare by fer (of --model), efficientnet-lite0 (ImageNet: hair, eyes and background too), inception, "
    "dinov2, clip.",
)
@click.option("--by-class", is_flag=True, help="Compare class by class too, and ask the classifier for agreement.")
@click.option("--model", metavar="FILE|NAME", default=YARDSTICK, help="Take the fer features from this classifier.")
@click.option("--crop", type=CROP, default="none", help="Show the fer classifier this part of the pictures.")
@click.option(
    "--out", metavar="FILE", help="Write the results into this file, as JSON lines after those that are there."
)
@click.option("--neighbours", metavar="PNG", help="Show 16 samples beside the nearest training images.")
@click.option("--grid", metavar="PNG", help="Show 64 samples that nobody picked, or a row a class; needs no --data.")
@click.option(
    "--blind", nargs=2, metavar="A B", help="Write a page to --out: 40 pairs of two generators to compare by eye."
)
@device_option
def metrics(data: str | None, out: str | None, grid: str | None, blind: tuple[str, str] | None, **options: Any) -> None:
    """Judge a generator, or any pictures, against real pictures.

    The measures are KID, FID, precision and recall, density and coverage, sliced Wasserstein distance and Vendi score.
    Each has a 95 % confidence interval and a floor: the same measure between two halves of the real pictures.
    """
    for path in (out, grid, options["neighbours"]):
        if path is not None:
            require_folder_of(path)  # told now, not after minutes of work
    if blind is not None:
        _write_blind(blind, out, data, grid, options)
        return
    _require_sense(data, out, grid, options)
    from ...stylegan.drawing import Drawing
    from ..generators.catalogue import ensure_network
    from ..generators.features import MetricsOptions
    from ..generators.metrics import append_lines, judge, write_sample_grid
    from ..progress import progress

    if options["images"] is None:
        ensure_network(options["network"])
    if grid is not None:
        drawn = write_sample_grid(grid, taken(Drawing, options), options["seed"])
        click.echo(f"{drawn} in {grid}")
    if data is None:
        return
    records = judge(MetricsOptions(data=data, **options), progress)
    if out is not None:
        append_lines(out, records)
    _show(records)
    for path in (out, options["neighbours"]):
        if path is not None:
            click.echo(f"written: {path}")


def _require_sense(data: str | None, out: str | None, grid: str | None, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other."""
    if data is None and grid is None:
        raise UsageError(
            "--data is missing: name the real pictures (a folder, a zip or fer2013.csv), or ask for a --grid"
        )
    given = {**options, "data": data, "out": out, "grid": grid}
    if data is None and (name := first_given(given, "out", "images", "held_out", "n", "neighbours", "by_class")):
        raise UsageError(f"{name} needs --data, the real pictures")
    if options["images"] and (name := first_given(given, "network", "truncation_psi", "class_index", "grid")):
        raise UsageError(f"--images and {name} exclude each other; --images are judged as they are")


def _show(records: list[dict[str, Any]]) -> None:
    """A table of the measures, and a warning where FID is high for want of pictures."""
    first = records[0]
    click.echo(
        f"{first['fakes'].get('network') or first['fakes']['images']} against {first['data']['name']}: "
        f"{first['n_real']} and {first['n_fake']} pictures, {first['repeats']} times"
    )
    print_table(["Features", "Metric", "Value", "Floor", "Good"], [_row(record) for record in records], right=(2, 3))
    if first["n_floor"] < first["n_real"]:
        click.echo(
            f"The floor compares {first['n_floor']} pictures with {first['n_floor']} others; only KID's floor is that "
            f"of {first['n_real']} too"
        )
    short = [r["features"] for r in records if r["metric"] == "fid" and r["n_fake"] < 10 * r["features"]["dimensions"]]
    for features in short:
        click.echo(
            f"With {first['n_fake']} pictures for {features['dimensions']} {features['name']} features FID is high: "
            "compare it with its floor, or take KID"
        )


def _write_blind(
    networks: tuple[str, str], out: str | None, data: str | None, grid: str | None, options: dict[str, Any]
) -> None:
    given = {**options, "data": data, "grid": grid}
    if name := first_given(given, "data", "grid", "network", "images", "n", "neighbours"):
        raise UsageError(f"--blind and {name} exclude each other; --blind only shows two generators")
    if out is None or not out.endswith(".html"):
        raise UsageError("--blind writes a page; name it, such as --out blind.html")
    from ..generators.blind import write_blind_page
    from ..generators.catalogue import ensure_network

    for network in networks:
        ensure_network(network)
    write_blind_page(
        out, networks, options["truncation_psi"], options["class_index"], options["seed"], options["device"]
    )
    click.echo(f"written: {out}; open it in a browser")


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    metric = record["metric"]
    return (
        record["features"]["name"],
        _TITLE.get(metric, metric.capitalize()) + (f", {record['class']}" if "class" in record else ""),
        _with_interval(record, metric),
        _with_interval(record["floor"], metric),
        _GOOD[metric],
    )


def _with_interval(summary: dict[str, Any], metric: str) -> str:
    scale = 1000 if metric.startswith("kid") else 1
    digits = 2 if metric in ("kid", "kid_of_class", "fid", "vendi") else 3
    text = f"{scale * summary['value']:.{digits}f}"
    if summary["ci95"] is None:
        return text
    half = scale * max(summary["ci95"][1] - summary["value"], summary["value"] - summary["ci95"][0])
    return f"{text} ± {half:.{digits}f}"
