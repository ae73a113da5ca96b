"""Estimates for large runs: time, storage and money, from what faces took where they were measured.

Nothing here is measured; :func:`estimate` is arithmetic over :class:`Figures`. The model: workers do shards side by
side, one process takes their parts in, and at the end labels are merged and the report is written by that process
alone. A simulation of the same (``python -m benchmarks.scaling``) agrees with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, read_json
from ..run_folder.labels import MOST_CSV_ROWS
from ..run_folder.pictures import KeptPictures
from ..run_folder.seeds import shard_size

FORMAT = "figures 1"
"""The ``fergan`` entry of files that ``python -m benchmarks.pipeline --out FILE`` writes."""

CSV_BYTES = 110
"""Bytes of a row of ``labels.csv`` with seven classes, about."""


@dataclass(frozen=True)
class Figures:
    """Measured needs of one worker.

    Attributes:
        about: what was measured, on what.
        resolution: pixels of a face.
        gpu: whether networks ran on a GPU; else all work shares the worker's cores.
        start: seconds until the first face: imports and networks.
        generate, prepare, png, classify, label: seconds a face: drawing, cutting to 48x48, encoding and writing a PNG,
            judging, and making its row of a part.
        png_bytes, label_bytes: a face.
        keep: seconds in which the process in charge hands out a shard and takes its part in.
        merge: seconds a face in which it checks and merges the parts.
        report, report_face: seconds for the report, and seconds more for each face in it.
    """

    about: str
    resolution: int
    gpu: bool
    start: float
    generate: float
    prepare: float
    png: float
    classify: float
    label: float
    png_bytes: float
    label_bytes: float
    keep: float
    merge: float
    report: float
    report_face: float

    def worker_face(self, kept: float) -> float:
        """Seconds in which one worker does a face whose picture is kept with this share (0 to 1).

        On a GPU, encoding (a thread of its own) and judging (an actor of its own) go on beside the drawing, so the
        slowest of the three decides; on CPUs they take its cores.
        """
        draw, judge = self.generate + self.prepare, self.classify + self.label
        return max(draw, self.png * kept, judge) if self.gpu else draw + judge + self.png * kept


DRIVER = {"keep": 0.018, "merge": 6.3e-7, "report": 1.0, "report_face": 6.7e-6}
"""Seconds of the process in charge, measured on 2 cores of an AMD EPYC (Zen 4), where a file does not say otherwise."""

BUILT_IN = (
    Figures(
        "the bundled stylegan2-faces-64 on 2 cores of an AMD EPYC (Zen 4)",
        64, False, 2.3, 0.00137, 0.00007, 0.00027, 0.00106, 0.00019, 8973, 61, **DRIVER,
    ),
    Figures(
        "a config-f StyleGAN2 of 1024 pixels on 2 cores of an AMD EPYC (Zen 4)",
        1024, False, 2.3, 0.608, 0.0031, 0.0168, 0.00106, 0.00019, 1_000_000, 61, **DRIVER,
    ),
    Figures(
        "the default stylegan2-faces-64-wide on 2 cores of an AMD EPYC (Zen 5)",
        64, False, 1.6, 0.00194, 0.00005, 0.00023, 0.00040, 0.00008, 8862, 61, **DRIVER,
    ),
)  # fmt: skip
"""Measured by ``python -m benchmarks.pipeline``, for want of a file. PNG bytes at 1024 pixels are those of faces."""

GIGAFLOP = {64: 32.0, 128: 61.0, 256: 91.0, 512: 120.0, 1024: 151.0}
"""Arithmetic of one config-f StyleGAN2 face by its resolution, 10**9 operations (twice the multiply-adds)."""


@dataclass(frozen=True)
class PlanOptions:
    """Options of an estimate.

    Attributes:
        n: faces.
        network: name or file of the generator; its name, or else its resolution, chooses among :data:`BUILT_IN`.
        gpus: so many GPUs, one a worker; None for machines without.
        machines: so many machines as the one that was measured, if ``gpus`` is None.
        pictures: which are kept, as for ``fergan run --pictures``.
        measured: the file of ``python -m benchmarks.pipeline --out``; None for :data:`BUILT_IN`.
        tflops: 10**12 operations a second that a GPU is assumed to reach where the figures are of CPUs.
        price: of a GPU or machine for an hour, in any currency; None for no cost.
    """

    n: int
    network: str | None = None
    gpus: int | None = None
    machines: int = 1
    pictures: str | None = None
    measured: str | None = None
    tflops: float = 10.0
    price: float | None = None


@dataclass(frozen=True)
class Estimate:
    """An estimate; seconds and bytes.

    Attributes:
        workers, shard, shards: how the run is cut up.
        worker_face: seconds of one worker a face.
        start, work, serial, total: until the first face; while workers work; merging and reporting; all.
        limit: what decides ``work``: ``workers`` or ``driver``, the process in charge.
        most_workers: beyond so many, more do not shorten ``work``.
        label_bytes, picture_bytes: of the run folder.
        pictures: files or members that are kept.
        worker_hours: paid for, idle or not.
        cost: of them, if there is a price.
        assumptions: what was not measured, a line each.
    """

    workers: int
    shard: int
    shards: int
    worker_face: float
    start: float
    work: float
    serial: float
    total: float
    limit: str
    most_workers: int
    label_bytes: float
    picture_bytes: float
    pictures: int
    worker_hours: float
    cost: float | None
    assumptions: tuple[str, ...]


def plan(options: PlanOptions) -> tuple[Figures, Estimate]:
    """Figures for a network, and the estimate from them.

    Raises:
        DataError: the file of figures cannot be read.
        UsageError: nothing is known of the network, or a number makes no sense.
    """
    figures, assumptions = _figures(options)
    workers = options.gpus if options.gpus is not None else options.machines
    kept = KeptPictures.parse(options.pictures, options.n)
    return figures, estimate(figures, options.n, workers, kept, options.price, assumptions)


def estimate(
    figures: Figures,
    n: int,
    workers: int,
    kept: KeptPictures,
    price: float | None = None,
    assumptions: tuple[str, ...] = (),
) -> Estimate:
    """The model of a run of ``n`` faces by ``workers`` workers."""
    shard = min(shard_size(n), n)
    shards = -(-n // shard)
    pictures = n if kept.mode in ("all", "tar") else len(kept.rows(n))
    face = figures.worker_face(pictures / n)
    rounds = math.ceil(shards / workers)  # whole shards: with few a worker, some wait for the last
    shared = max(n * face / workers + shard * face / 2, rounds * shard * face) if workers > 1 else n * face
    alone = shards * figures.keep
    serial = n * figures.merge + figures.report + n * figures.report_face
    work = max(shared, alone)
    total = figures.start + work + serial
    csv = CSV_BYTES * n if n <= MOST_CSV_ROWS else 0
    hours = workers * total / 3600
    return Estimate(
        workers=workers,
        shard=shard,
        shards=shards,
        worker_face=face,
        start=figures.start,
        work=work,
        serial=serial,
        total=total,
        limit="driver" if alone > shared else "workers",
        most_workers=max(1, min(shards, math.floor(shard * face / figures.keep))),
        label_bytes=n * figures.label_bytes + csv,
        picture_bytes=pictures * figures.png_bytes,
        pictures=pictures,
        worker_hours=hours,
        cost=None if price is None else hours * price,
        assumptions=assumptions,
    )


def read_figures(path: str | Path) -> Figures:
    """The file that ``python -m benchmarks.pipeline --out FILE`` wrote.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    label = printable(path)
    again = "make it by: python -m benchmarks.pipeline --n 500 --out FILE"
    data = read_json(Path(path), again)
    if data is None:
        raise DataError(f"{label}: does not exist; {again}")
    if not isinstance(data, dict) or data.get("fergan") != FORMAT:
        raise DataError(f"{label}: holds no figures of the pipeline; {again}")
    try:
        return _from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{label}: a figure is missing or not a positive number ({error}); {again}") from error


def _from_json(data: dict[str, Any]) -> Figures:
    n, seconds, shards = int(data["n"]), data["seconds"], int(data["shards"])

    def a_face(stage: str) -> float:
        value = float(seconds[stage]) / n
        if not value > 0 or not math.isfinite(value):
            raise ValueError(stage)
        return value

    start = sum(float(seconds[s]) for s in seconds if s.startswith(("import", "load")))
    used = data["used"]
    on = data["device"] if data["device"] != "cpu" else f"{int(data['cores'])} cores ({data['machine']})"
    figures = Figures(
        about=f"{used['generator']}, {used['classifier']}, on {on}",
        resolution=int(data["resolution"]),
        gpu=data["device"] != "cpu",
        start=start,
        generate=a_face("generate"),
        prepare=a_face("prepare 48x48"),
        png=a_face("encode and write PNGs"),
        classify=a_face("classify"),
        label=a_face("make label parts"),
        png_bytes=float(data["png_bytes"]) / n,
        label_bytes=float(data["label_bytes"]) / n,
        keep=max(DRIVER["keep"], float(seconds["write label parts"]) / shards),
        merge=DRIVER["merge"],
        report=float(seconds["report"]),
        report_face=DRIVER["report_face"],
    )
    for name, value in vars(figures).items():
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise ValueError(name)
    return figures


def _figures(options: PlanOptions) -> tuple[Figures, tuple[str, ...]]:
    for name, value in (("--gpus", options.gpus), ("--machines", options.machines), ("--n", options.n)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: at least one")
    if options.measured:
        figures = read_figures(options.measured)
        if options.network and (known := _resolution(options.network)) and known != figures.resolution:
            raise UsageError(
                f"--measured {printable(options.measured)}: is of {figures.resolution} pixels and "
                f"{options.network} of {known}; measure that: python -m benchmarks.pipeline --network {options.network}"
            )
    else:
        from ...stylegan.zoo import DEFAULT

        resolution = _resolution(options.network) if options.network else 64
        near = [figures for figures in BUILT_IN if figures.resolution == resolution]
        if not near:
            sizes = " and ".join(str(pixels) for pixels in sorted({figures.resolution for figures in BUILT_IN}))
            raise UsageError(
                f"--network {options.network}: nothing is built in but {sizes} pixels; measure it: "
                f"python -m benchmarks.pipeline --network {options.network} --out FILE, then --measured FILE"
            )
        named = [figures for figures in near if (options.network or DEFAULT) in figures.about.split()]
        figures = (named or near)[0]
    notes = [] if options.measured else ["the figures are those built in; measure your own with benchmarks.pipeline"]
    if options.gpus is not None and not figures.gpu:
        work = GIGAFLOP.get(figures.resolution, 151.0)
        seconds = min(figures.generate, work / (1000 * options.tflops))
        figures = replace(figures, gpu=True, generate=seconds, classify=min(figures.classify, seconds))
        notes.append(
            f"no GPU was measured: {options.tflops:g} TFLOP/s in use and {work:g} GFLOP a face (config-f) are assumed, "
            "and each GPU to have 2 cores beside it"
        )
    notes.append("all workers are equally fast (a slow one at the end adds what its shard takes longer)")
    notes.append("the process in charge is as fast as the one measured, and storage keeps up with the workers")
    return figures, tuple(notes)


def _resolution(network: str) -> int | None:
    """Pixels of a network's faces: of a bundled or published one, or of a file; None if that cannot be told."""
    from ...stylegan.zoo import ZOO

    if network in ZOO:
        return ZOO[network].resolution
    from ...stylegan.checkpoints import describe
    from ...stylegan.zoo import find_checkpoint

    return int(describe(find_checkpoint(network))["resolution"])
