"""Judging a generator, or any folder of pictures, against real pictures: ``fergan metrics``.

Every comparison takes n real and n fake pictures, and is made several times with others. Beside it stands the floor:
the same measure between n real pictures and n other real ones, which no generator can be expected to beat.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...data.images import write_png
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ...stylegan.generator import Generator, default_psi, load_generator
from ...stylegan.metrics import DENSITY_K, PRECISION_K, density_coverage, fid, kid, mean_and_interval, precision_recall
from ..progress import OnProgress, no_progress
from .features import FeatureSpace, compute_features, fer_features, inception_features, pixel_features
from .neighbours import CLOSEST, SHOWN, Neighbours, Sample, draw_sheet, find_neighbours
from .picture_set import PictureSet

DEFAULT_N = 5000
"""Pictures a side, where the data have that many."""

SEARCHED = 1000
"""Fakes, and real pictures, whose nearest training images tell whether fakes are copies."""

_SMALLEST = max(PRECISION_K, DENSITY_K) + 1
_GRID = 8

Stage = Callable[[str, str], AbstractContextManager[OnProgress]]
"""Called with a title and a unit when a long piece of work begins."""


def _silent(title: str, unit: str) -> AbstractContextManager[OnProgress]:
    return nullcontext(no_progress)


@dataclass(frozen=True)
class MetricsOptions:
    """What to judge, and how.

    Attributes:
        data: folder, zip or FER2013 CSV (its Training rows) of the real pictures.
        network: the generator, as for ``generate``; None for the best bundled one.
        images: judge the pictures of this folder, zip or CSV in place of a generator's.
        n: pictures a side in each comparison; None = half of the data, at most DEFAULT_N.
        repeats: comparisons, each with new fakes and another choice of real pictures.
        seed: the first of the generator's seeds, and of the choice of pictures.
        truncation_psi: None for the generator's own default.
        class_index: of a conditional generator; None draws classes as often as the data have them.
        features: ``fer``, ``inception`` or ``both``.
        model: the classifier of the ``fer`` features; None for fernet.
        crop: of the ``fer`` features, see :func:`fergan.data.faces.prepare_faces`.
        neighbours: where to write the sheet of nearest training images; None = not looked for.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    data: str
    network: str | None = None
    images: str | None = None
    n: int | None = None
    repeats: int = 5
    seed: int = 0
    truncation_psi: float | None = None
    class_index: int | None = None
    features: str = "fer"
    model: str | None = None
    crop: str = "none"
    neighbours: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class _Fakes:
    """What is judged.

    Attributes:
        title: for people.
        about: for the record.
        count: how many pictures there are.
        side, channels: of the pictures.
        pictures: all of them, in order.
        name: of the picture at a place, and the picture itself.
    """

    title: str
    about: dict[str, Any]
    count: int
    side: int
    channels: int
    pictures: Callable[[], Iterator[np.ndarray]]
    name: Callable[[int], str]
    picture: Callable[[int], np.ndarray]


def judge(options: MetricsOptions, stage: Stage = _silent) -> list[dict[str, Any]]:
    """Compare, and write the sheet if there is to be one.

    Returns:
        One record for each metric and kind of features, as plain JSON values:

        - ``metric``: ``kid``, ``fid``, ``precision``, ``recall``, ``density``, ``coverage``, or ``nearest`` (below);
        - ``value``: the mean over the repeats; ``std``: their standard deviation; ``ci95``: 95 % confidence interval of
          the mean for this data set, [low, high]; both null for one repeat;
        - ``floor``: the same three between real pictures and other real pictures;
        - ``n_real``, ``n_fake``: pictures in each comparison; ``repeats``;
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
    spaces = _spaces(options)
    reals = PictureSet(options.data)
    if options.images is None:
        n = _pictures_a_side(options, reals)
        fakes = _of_generator(options, n * options.repeats, reals)
    else:
        others = PictureSet(options.images)
        n = _pictures_a_side(options, reals, others)
        fakes = _of_pictures(others, n * options.repeats)
    reals.side, reals.channels = fakes.side, fakes.channels

    searched = [pixel_features(), spaces[0]] if options.neighbours else []
    rng = np.random.default_rng(options.seed)
    some_reals = rng.permutation(len(reals))[: SEARCHED if searched else 0]
    some_fakes = (np.arange if options.images is None else rng.permutation)(fakes.count)[: SEARCHED if searched else 0]
    computed = [*spaces, *searched[:1]]
    with stage("Real pictures", "pictures") as show:
        each = (reals[index] for index in range(len(reals)))
        real, real_mirrored = compute_features(each, len(reals), computed, some_reals.tolist(), show)
    with stage("Fakes", "pictures") as show:
        fake, fake_mirrored = compute_features(fakes.pictures(), fakes.count, computed, some_fakes.tolist(), show)

    common = {
        "repeats": options.repeats,
        "fakes": fakes.about,
        "data": {"name": printable(reals.path.name), "count": len(reals)},
        "resolution": fakes.side,
        "channels": fakes.channels,
        "seed": options.seed,
        "fergan": __version__,
    }
    records: list[dict[str, Any]] = []
    with stage("Comparing", "rounds") as show:
        total = options.repeats * len(spaces)
        done = 0
        for space in spaces:
            rounds = []
            for pair in _rounds(real[space.name], fake[space.name], n, options):
                rounds.append(pair)
                done += 1
                show(done, total)
            about = {**space.about, "dimensions": real[space.name].shape[1]}
            values, floors = zip(*rounds, strict=True)
            for metric in values[0]:
                record = {"metric": metric, **_summary(values, metric), "floor": _summary(floors, metric)}
                records.append({**record, "n_real": n, "n_fake": n, **common, "features": about})
    if options.neighbours:
        found = {}
        for space in searched:
            found[space.name] = find_neighbours(
                fake[space.name][some_fakes],
                fake_mirrored[space.name],
                real[space.name],
                some_reals,
                real_mirrored[space.name],
            )
            record = _nearest_record(found[space.name], [fakes.name(int(i)) for i in some_fakes[:SHOWN]], reals)
            about = {**space.about, "dimensions": real[space.name].shape[1]}
            records.append({**record, "n_real": len(reals), "n_fake": len(some_fakes), **common, "features": about})
        write_png(options.neighbours, _sheet(fakes, some_fakes[:SHOWN], reals, found), compress_level=6)
    seconds = round(time.monotonic() - started, 1)
    return [{**record, "seconds": seconds} for record in records]


def append_lines(path: str | Path, records: list[dict[str, Any]]) -> None:
    """Add records to a file of JSON lines, whole or not at all; a file that is missing is begun."""
    path = Path(path)
    try:
        before = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    if before and not before.endswith(b"\n"):
        before += b"\n"
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_atomically(path, before + lines.encode())


def write_sample_grid(
    path: str | Path, network: str | None, psi: float | None, class_index: int | None, seed: int, device: str
) -> tuple[str, float]:
    """Write 64 samples, seeds ``seed`` and up, as eight rows of eight: what a model card shows.

    Returns:
        The generator's name and the psi.
    """
    generator = load_generator(network, device=device)
    psi = default_psi(generator, psi)
    faces = generator.generate(range(seed, seed + _GRID**2), truncation_psi=psi, class_index=class_index)
    gap = max(1, generator.img_resolution // 32)
    faces = np.pad(faces, ((0, 0), (0, gap), (0, gap), (0, 0)))
    edge, channels = faces.shape[1], faces.shape[3]
    grid = faces.reshape(_GRID, _GRID, edge, edge, channels).swapaxes(1, 2).reshape(_GRID * edge, -1, channels)
    write_png(path, np.pad(grid, ((gap, 0), (gap, 0), (0, 0))), compress_level=6)
    return generator.name, psi


def _spaces(options: MetricsOptions) -> list[FeatureSpace]:
    spaces = []
    if options.features in ("inception", "both"):  # first, as it may not be there
        spaces.append(inception_features(options.device))
    if options.features in ("fer", "both"):
        spaces.insert(0, fer_features(options.model, options.crop, options.device))
    return spaces


def _pictures_a_side(options: MetricsOptions, reals: PictureSet, others: PictureSet | None = None) -> int:
    sets = [(reals, len(reals) // 2)] + ([(others, len(others))] if others else [])
    for pictures, most in sets:
        name = printable(pictures.path)
        half = ", since the floor compares one half of them with the other" if pictures is reals else ""
        if most < _SMALLEST:
            needed = 2 * _SMALLEST if half else _SMALLEST
            raise DataError(f"{name}: {len(pictures)} pictures are too few; at least {needed} are needed{half}")
        if options.n is not None and options.n > most:
            raise UsageError(f"--n {options.n}: {name} has {len(pictures)} pictures; give at most {most}{half}")
    if options.n is not None and options.n < _SMALLEST:
        raise UsageError(
            f"--n {options.n} is too small for metrics that look at {DENSITY_K} neighbours; give at least 6"
        )
    return options.n or min(DEFAULT_N, *(most for _, most in sets))


def _of_pictures(pictures: PictureSet, wanted: int) -> _Fakes:
    name = printable(pictures.path.name)
    return _Fakes(
        title=name,
        about={"images": name, "count": len(pictures), "reused": len(pictures) < wanted},
        count=len(pictures),
        side=pictures.side,
        channels=pictures.channels,
        pictures=lambda: (pictures[index] for index in range(len(pictures))),
        name=lambda index: printable(pictures.names[index]),
        picture=lambda index: pictures[index],
    )


def _of_generator(options: MetricsOptions, count: int, reals: PictureSet) -> _Fakes:
    generator = load_generator(options.network, device=options.device)
    psi = default_psi(generator, options.truncation_psi)
    if options.class_index is not None or not generator.c_dim:
        generator.check_class(options.class_index)
        classes = None
    else:
        classes = _classes_like(generator, reals, count, options.seed)

    def draw(places: range) -> np.ndarray:
        if classes is None:
            return generator.generate([options.seed + i for i in places], psi, class_index=options.class_index)
        shape = (len(places), generator.img_resolution, generator.img_resolution, generator.img_channels)
        pictures = np.empty(shape, np.uint8)
        for index in np.unique(classes[places.start : places.stop]):
            rows = [row for row, i in enumerate(places) if classes[i] == index]
            seeds = [options.seed + places[row] for row in rows]
            pictures[rows] = generator.generate(seeds, psi, class_index=int(index))
        return pictures

    about: dict[str, Any] = {
        "network": generator.name,
        "sha256": generator.sha256,
        "truncation_psi": psi,
        "seeds": f"{options.seed}-{options.seed + count - 1}",
        "count": count,
        **({"class": options.class_index if classes is None else "as in the data"} if generator.c_dim else {}),
    }
    return _Fakes(
        title=f"{generator.name}, psi {psi:g}",
        about=about,
        count=count,
        side=generator.img_resolution,
        channels=generator.img_channels,
        pictures=lambda: (face for i in range(0, count, 64) for face in draw(range(i, min(i + 64, count)))),
        name=lambda index: f"seed {options.seed + index}",
        picture=lambda index: draw(range(index, index + 1))[0],
    )


def _classes_like(generator: Generator, reals: PictureSet, count: int, seed: int) -> np.ndarray:
    """Classes of fakes, int [count], drawn as often as the data have them."""
    classes = reals.classes()
    if classes.shape[1] != generator.c_dim or not np.array_equal(classes.sum(axis=1), classes.max(axis=1)):
        raise UsageError(
            f"{printable(reals.path)}: its classes are not the {generator.c_dim} of {generator.name}; "
            f"choose one class with --class"
        )
    return np.random.default_rng(seed).choice(classes.argmax(axis=1), count)


def _rounds(
    real: np.ndarray, fake: np.ndarray, n: int, options: MetricsOptions
) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """The metrics of each repeat, and those between real pictures."""
    order = np.random.default_rng(options.seed).permutation(len(fake))
    for repeat in range(options.repeats):
        rng = np.random.default_rng((options.seed, repeat))
        chosen = rng.permutation(len(real))[: 2 * n]
        fresh = len(fake) >= options.repeats * n
        fakes = order[repeat * n : (repeat + 1) * n] if fresh else rng.permutation(len(fake))[:n]
        yield _metrics(real[chosen[:n]], fake[fakes]), _metrics(real[chosen[:n]], real[chosen[n:]])


def _metrics(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    precision, recall = precision_recall(real, fake)
    density, coverage = density_coverage(real, fake)
    return {
        "kid": kid(real, fake),
        "fid": fid(real, fake),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }


def _summary(repeats: Sequence[dict[str, float]], metric: str) -> dict[str, Any]:
    value, deviation, interval = mean_and_interval(np.array([values[metric] for values in repeats]))
    return {"value": value, "std": deviation, "ci95": interval}


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


def _sheet(fakes: _Fakes, shown: np.ndarray, reals: PictureSet, found: dict[str, Neighbours]) -> np.ndarray:
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
        "inception": "nearest by Inception",
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
