"""Judging a generator, or any folder of pictures, against real pictures: ``fergan metrics``.

Every comparison takes n real and n fake pictures, and is made several times with others. Beside it stands the floor:
the same measure between n real pictures and n other real ones, which no generator can be expected to beat.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import write_png
from ...runtime.errors import DataError, UsageError, counted
from ...runtime.files import printable, read_bytes, write_atomically
from ...runtime.version import __version__
from ...stylegan.drawing import Drawing
from ...stylegan.generator import Generator
from ...stylegan.metrics import (
    DENSITY_K,
    PRECISION_K,
    density_coverage,
    fid,
    fld_gap,
    kid,
    precision_recall,
    sliced_wasserstein,
    vendi,
)
from ..progress import Stage, silent
from .by_class import judge_classes, summarize
from .fakes import Fakes, fakes_of_generator, fakes_of_pictures
from .features import FeatureSpace, MetricsOptions, compute_features, feature_spaces, pixel_features
from .neighbours import CLOSEST, SHOWN, Neighbours, Sample, draw_sheet, find_neighbours
from .picture_set import PictureSet

DEFAULT_N = 5000
"""Pictures a side, where the data have that many."""

SEARCHED = 1000
"""Fakes, and real pictures, whose nearest training images tell whether fakes are copies."""

_SMALLEST = max(PRECISION_K, DENSITY_K) + 1
_GRID = 8


def judge(options: MetricsOptions, stage: Stage = silent) -> list[dict[str, Any]]:
    """Compare, and write the sheet if there is to be one.

    Returns:
        One record for each metric and kind of features, as plain JSON values:

        - ``metric``: ``kid``, ``fid``, ``precision``, ``recall``, ``density``, ``coverage``, ``sliced_wasserstein``,
          ``vendi``, ``fld_gap`` (with held-out pictures), ``nearest`` (below), or of one class ``kid_of_class`` and
          ``agreement``, see :func:`fergan.workflows.generators.by_class.judge_classes`;
        - ``value``: the mean over the repeats; ``std``: their standard deviation; ``ci95``: 95 % confidence interval of
          the mean for this data set, [low, high], null for fewer than three repeats;
        - ``floor``: the same three between real pictures and other real pictures;
        - ``n_real``, ``n_fake``: pictures in each comparison; ``n_floor``, a side of a floor of halves; ``repeats``;
        - ``fakes``: ``count`` in all, and for a generator ``network``, ``sha256``, ``truncation_psi``, ``seeds`` and,
          if it is conditional, ``class``; else ``images`` and ``reused``, which is true where repeats had to share
          fakes: the interval then leaves out the luck of which fakes there are;
        - ``data``: ``name`` and ``count``; ``resolution`` and ``channels``: what all pictures were brought to first;
        - ``features``: ``name``, ``dimensions``, and the network with its sha256 and its preparation of pictures;
        - ``seed``, ``fergan`` (version), ``seconds`` (of the whole measurement).

        ``nearest`` has as ``value`` the probability that a fake is nearer to a training image than a training image is
        to the others (0.5: no nearer; 1: copies; see :func:`fergan.stylegan.metrics.nearer_share`), ``typical`` (the
        median distance of a training image to the nearest other one) and ``samples``: ``name``, ``percentile`` among
        the training images' own distances, and ``nearest``, each with ``image``, ``mirrored``, ``distance`` and
        ``ratio`` to the typical one.

    Raises:
        DataError: pictures or files cannot be read, or there are too few.
        UsageError: an option does not fit the data, the generator or the installation.
    """
    started = time.monotonic()
    spaces = feature_spaces(options)
    reals = PictureSet(options.data)
    n, generator, fakes = _fakes(options, reals)
    unseen = PictureSet(options.held_out, split="PublicTest") if options.held_out is not None else None
    for pictures in (reals, unseen):
        if pictures is not None:
            pictures.side, pictures.channels = fakes.side, fakes.channels
    if options.by_class and (generator is None or not generator.c_dim):
        raise UsageError("--by-class needs a conditional generator; 'fergan models' lists what there is")

    common = {
        "repeats": options.repeats,
        "fakes": fakes.about,
        "data": {"name": printable(reals.path.name), "count": len(reals)},
        "resolution": fakes.side,
        "channels": fakes.channels,
        "seed": options.seed,
        "fergan": __version__,
    }
    pool = _compute(options, spaces, reals, unseen, fakes, stage)
    records = [{**record, **common} for record in _compare(options, spaces, pool, n, stage)]
    if options.neighbours:
        records += [{**record, **common} for record in _search(options.neighbours, spaces[0], reals, fakes, pool)]
    if options.by_class and generator is not None:
        psi = fakes.about["truncation_psi"]
        records += [{**record, **common} for record in judge_classes(options, generator, psi, reals, stage)]
    seconds = round(time.monotonic() - started, 1)
    return [{**record, "seconds": seconds} for record in records]


def _fakes(options: MetricsOptions, reals: PictureSet) -> tuple[int, Generator | None, Fakes]:
    """(pictures a side, the generator unless pictures are judged, the fakes of all repeats)"""
    if options.images is not None:
        others = PictureSet(options.images, one_shape=True)
        n = _pictures_a_side(options, reals, others)
        return n, None, fakes_of_pictures(others, n * options.repeats)
    n = _pictures_a_side(options, reals)
    generator, psi = options.open()
    drawn = psi, options.class_index, options.seed, n * options.repeats
    return n, generator, fakes_of_generator(generator, *drawn, reals)


@dataclass(frozen=True)
class _Pool:
    """Features [N, D] by the name of their space, of all pictures, and of mirror images of some.

    Attributes:
        unseen: of the held-out pictures; empty without them.
        some_reals, some_fakes: int, places of those whose mirror image was computed.
    """

    real: dict[str, np.ndarray]
    fake: dict[str, np.ndarray]
    unseen: dict[str, np.ndarray]
    some_reals: np.ndarray
    some_fakes: np.ndarray
    real_mirrored: dict[str, np.ndarray]
    fake_mirrored: dict[str, np.ndarray]


def _compute(
    options: MetricsOptions,
    spaces: list[FeatureSpace],
    reals: PictureSet,
    unseen: PictureSet | None,
    fakes: Fakes,
    stage: Stage,
) -> _Pool:
    searched = SEARCHED if options.neighbours else 0
    rng = np.random.default_rng(options.seed)
    some_reals = rng.permutation(len(reals))[:searched]
    some_fakes = (np.arange if options.images is None else rng.permutation)(fakes.count)[:searched]
    computed = [*spaces, pixel_features()] if searched else spaces
    with stage("Real pictures", "pictures") as show:
        each = (reals[index] for index in range(len(reals)))
        real, real_mirrored = compute_features(each, len(reals), computed, some_reals.tolist(), show)
    with stage("Fakes", "pictures") as show:
        fake, fake_mirrored = compute_features(fakes.pictures(), fakes.count, computed, some_fakes.tolist(), show)
    features_of_unseen: dict[str, np.ndarray] = {}
    if unseen is not None:
        count = min(len(unseen), SEARCHED)
        places = np.sort(rng.permutation(len(unseen))[:count])
        with stage("Held-out pictures", "pictures") as show:
            chosen = (unseen[int(place)] for place in places)
            features_of_unseen, _ = compute_features(chosen, count, spaces, [], show)
    return _Pool(real, fake, features_of_unseen, some_reals, some_fakes, real_mirrored, fake_mirrored)


def _compare(
    options: MetricsOptions, spaces: list[FeatureSpace], pool: _Pool, n: int, stage: Stage
) -> list[dict[str, Any]]:
    records = []
    with stage("Comparing", "rounds") as show:
        total = options.repeats * len(spaces)
        done = 0
        for space in spaces:
            rounds = []
            for pair in _rounds(pool.real[space.name], pool.fake[space.name], pool.unseen.get(space.name), n, options):
                rounds.append(pair)
                done += 1
                show(done, total)
            about = {**space.about, "dimensions": pool.real[space.name].shape[1]}
            values, floors = zip(*rounds, strict=True)
            for metric in values[0]:
                record = {"metric": metric, **summarize(values, metric), "floor": summarize(floors, metric)}
                sizes = {"n_real": n, "n_fake": n, "n_floor": min(n, len(pool.real[space.name]) // 2)}
                records.append({**record, **sizes, "features": about})
    return records


def _search(path: str, space: FeatureSpace, reals: PictureSet, fakes: Fakes, pool: _Pool) -> Iterator[dict[str, Any]]:
    """Look for copies by pixels and by the first kind of features, and write the sheet."""
    found = {}
    for searched in (pixel_features(), space):
        name = searched.name
        found[name] = find_neighbours(
            pool.fake[name][pool.some_fakes],
            pool.fake_mirrored[name],
            pool.real[name],
            pool.some_reals,
            pool.real_mirrored[name],
        )
        record = _nearest_record(found[name], [fakes.name(int(i)) for i in pool.some_fakes[:SHOWN]], reals)
        about = {**searched.about, "dimensions": pool.real[name].shape[1]}
        yield {**record, "n_real": len(reals), "n_fake": len(pool.some_fakes), "features": about}
    write_png(path, _sheet(fakes, pool.some_fakes[:SHOWN], reals, found), compress_level=6)


def append_lines(path: str | Path, records: list[dict[str, Any]]) -> None:
    """Add records to a file of JSON lines, whole or not at all; a file that is missing is begun."""
    path = Path(path)
    before = read_bytes(path) if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_atomically(path, before + lines.encode())


def write_sample_grid(path: str | Path, drawing: Drawing, seed: int) -> str:
    """Write 64 samples, seeds ``seed`` and up, as eight rows of eight; returns what was drawn, for a person.

    Of a conditional generator without a class, a row is a class, and all rows are of the same eight seeds.
    """
    generator, psi = drawing.open()
    class_index = drawing.class_index
    if generator.c_dim and class_index is None:
        rows = min(generator.c_dim, _GRID)
        classes = [row for row in range(rows) for _ in range(_GRID)]
        faces = generator.generate([*range(seed, seed + _GRID)] * rows, psi, class_index=classes)
        left = f" (the first {_GRID} of {generator.c_dim} classes)" if generator.c_dim > _GRID else ""
        shown = f", one row for each of {', '.join(generator.class_names[:_GRID])}{left}"
    else:
        faces = generator.generate(range(seed, seed + _GRID**2), psi, class_index=class_index)
        shown = ""
    count = len(faces)
    gap = max(1, generator.img_resolution // 32)
    faces = np.pad(faces, ((0, 0), (0, gap), (0, gap), (0, 0)))
    edge, channels = faces.shape[1], faces.shape[3]
    grid = faces.reshape(-1, _GRID, edge, edge, channels).swapaxes(1, 2).reshape(-1, _GRID * edge, channels)
    write_png(path, np.pad(grid, ((gap, 0), (gap, 0), (0, 0))), compress_level=6)
    return f"{count} samples of {generator.name} at psi {psi:g}{shown}"


def _pictures_a_side(options: MetricsOptions, reals: PictureSet, others: PictureSet | None = None) -> int:
    if len(reals) < 2 * _SMALLEST:
        raise DataError(
            f"{printable(reals.path)}: {counted(len(reals), 'picture')}, too few; at least {2 * _SMALLEST} are needed, "
            "since the floor compares one half of them with the other"
        )
    if others is not None and len(others) < _SMALLEST:
        raise DataError(
            f"{printable(others.path)}: {counted(len(others), 'picture')}, too few; at least {_SMALLEST} are needed"
        )
    sets = [reals] if others is None else [reals, others]
    for pictures in sets:
        if options.n is not None and options.n > len(pictures):
            held = counted(len(pictures), "picture")
            raise UsageError(f"--n {options.n}: {printable(pictures.path)} has {held}; give at most that")
    if options.n is not None and options.n < _SMALLEST:
        raise UsageError(
            f"--n {options.n} is too small for metrics that look at {DENSITY_K} neighbours; give at least 6"
        )
    return options.n or min(DEFAULT_N, len(reals) // 2, *map(len, sets[1:]))


def _rounds(
    real: np.ndarray, fake: np.ndarray, unseen: np.ndarray | None, n: int, options: MetricsOptions
) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """The metrics of each repeat, and those between two halves of the real pictures, or less for a smaller n."""
    half = min(n, len(real) // 2)
    order = np.random.default_rng(options.seed).permutation(len(fake))
    for repeat in range(options.repeats):
        rng = np.random.default_rng((options.seed, repeat))
        chosen = rng.permutation(len(real))
        fresh = len(fake) >= options.repeats * n
        fakes = order[repeat * n : (repeat + 1) * n] if fresh else rng.permutation(len(fake))[:n]
        yield (
            _metrics(real[chosen[:n]], fake[fakes], unseen),
            _metrics(real[chosen[:half]], real[chosen[half : 2 * half]], unseen),
        )


def _metrics(real: np.ndarray, fake: np.ndarray, unseen: np.ndarray | None) -> dict[str, float]:
    precision, recall = precision_recall(real, fake)
    density, coverage = density_coverage(real, fake)
    gap = {} if unseen is None else {"fld_gap": fld_gap(real[:SEARCHED], unseen, fake[:SEARCHED])}
    return {
        "kid": kid(real, fake),
        "fid": fid(real, fake),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "sliced_wasserstein": sliced_wasserstein(real, fake),
        "vendi": vendi(fake),
        **gap,
    }


def _nearest_record(found: Neighbours, names: list[str], reals: PictureSet) -> dict[str, Any]:
    samples = [
        {
            "name": name,
            "percentile": float(found.percentiles[row]),
            "nearest": [
                {
                    "image": printable(reals.names[found.places[row, i]]),
                    "mirrored": bool(found.mirrored[row, i]),
                    "distance": float(found.distances[row, i]),
                    "ratio": found.ratio(float(found.distances[row, i])),
                }
                for i in range(CLOSEST)
            ],
        }
        for row, name in enumerate(names)
    ]
    none = {"std": None, "ci95": None}
    floor = {"value": 0.5, **none}
    value = {"value": found.nearer_share, **none, "floor": floor, "typical": found.typical}
    return {"metric": "nearest", **value, "samples": samples}


def _sheet(fakes: Fakes, shown: np.ndarray, reals: PictureSet, found: dict[str, Neighbours]) -> np.ndarray:
    samples = []
    for row, index in enumerate(shown.tolist()):
        groups = []
        for neighbours in found.values():
            members = []
            for i in range(CLOSEST):
                picture = reals[int(neighbours.places[row, i])]
                turned = bool(neighbours.mirrored[row, i])
                ratio = neighbours.ratio(float(neighbours.distances[row, i]))
                alarm = "!" if i == 0 and neighbours.percentiles[row] < 1 else ""
                caption = f"{alarm}{'?' if ratio is None else f'{ratio:.2f}'}{' mirrored' if turned else ''}"
                members.append((caption, picture[:, ::-1] if turned else picture))
            groups.append(members)
        samples.append(Sample(fakes.name(index), fakes.picture(index), groups))
    kinds = {
        "pixels": "nearest by pixels",
        "fer": "nearest by expression features",
        "efficientnet-lite0": "nearest by ImageNet features",
        "inception": "nearest by Inception",
        "dinov2": "nearest by DINOv2",
        "clip": "nearest by CLIP",
    }
    share = ", ".join(f"{100 * value.nearer_share:.0f} % by {name}" for name, value in found.items())
    notes = [
        "Under each training image: its distance; 1 is that of a typical training image to the nearest other one. Red: "
        "nearer than 99 % of training images are to each other.",
        f"Probability that a fake is nearer to a training image than a training image is to the others: {share} "
        "(50 %: no nearer; 100 %: copies).",
    ]
    title = f"{fakes.title}: the nearest of {len(reals):,} training images ({printable(reals.path.name)})"
    return draw_sheet(title, notes, ["sample", *(kinds[name] for name in found)], samples)
