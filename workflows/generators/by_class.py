"""A conditional generator judged class by class: does it draw the expression that it was asked for?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.labels import canonical_label
from ...runtime.errors import UsageError
from ...runtime.files import printable
from ...stylegan.generator import Generator
from ...stylegan.metrics import kid, mean_and_interval
from ..progress import Stage
from .features import MetricsOptions
from .picture_set import PictureSet

if TYPE_CHECKING:
    from ...classify.classifier import Classifier

PER_CLASS = 500
"""Pictures a side and class, where the data have that many."""

_FEWEST = 4  # real pictures of a class, two for each half


def judge_classes(
    options: MetricsOptions, generator: Generator, psi: float, reals: PictureSet, stage: Stage
) -> Iterator[dict[str, Any]]:
    """Compare the fakes of each class with real pictures of the class, by a classifier of expressions.

    Yields:
        for each class with at least four real pictures, records with ``class`` (its name) and

        - ``metric`` ``kid_of_class``: KID of the classifier's features, with its floor between the class's halves;
        - ``metric`` ``agreement``: the share of fakes to which the classifier gives the class that was asked for, and
          as floor the share of real pictures of the class; only where the classifier knows the class.

    Raises:
        UsageError: the classes of the data are not those of the generator.
    """
    from ...classify.classifier import load_classifier

    rows = reals.classes()
    if rows.shape[1] != generator.c_dim:
        raise UsageError(
            f"{printable(reals.path)}: has {rows.shape[1]} classes, but {generator.name} draws {generator.c_dim}"
        )
    judge = load_classifier(options.model, device=options.device)
    about = {"name": "fer", "model": judge.name, "sha256": judge.sha256, **judge.preparation(options.crop).as_dict()}
    rng = np.random.default_rng(options.seed)
    known = [canonical_label(label) for label in judge.labels]
    with stage("Classes", "classes") as show:
        for index, name in enumerate(generator.class_names):
            places = rng.permutation(np.flatnonzero(rows.argmax(axis=1) == index))
            n = min(options.n or PER_CLASS, len(places) // 2)
            if 2 * n >= _FEWEST:
                seeds = range(options.seed, options.seed + n * options.repeats)
                faces = generator.generate(seeds, psi, class_index=index)
                fake, said_of_fakes = _seen(judge, list(faces), options.crop)
                real, said_of_reals = _seen(judge, [reals[int(place)] for place in places], options.crop)
                common = {"class": name, "n_real": n, "n_fake": n, "features": {**about, "dimensions": real.shape[1]}}
                yield {"metric": "kid_of_class", **_kid(real, fake, n, options.repeats, options.seed), **common}
                if canonical_label(name) in known:
                    asked = known.index(canonical_label(name))
                    value = _share(said_of_fakes == asked, options.repeats)
                    yield {"metric": "agreement", **value, "floor": _share(said_of_reals == asked, 1), **common}
            show(index + 1, generator.c_dim)


def summarize(repeats: Sequence[dict[str, float]], metric: str) -> dict[str, Any]:
    """Mean, deviation and interval of a metric over repeats; the interval stays where the metric can be."""
    value, deviation, interval = mean_and_interval(np.array([values[metric] for values in repeats]))
    if interval is not None and metric != "kid":  # an unbiased estimate of 0 may be below 0, nothing else
        highest = 1.0 if metric in ("precision", "recall", "coverage", "agreement") else np.inf
        interval = (max(0.0, interval[0]), min(highest, interval[1]))
    return {"value": value, "std": deviation, "ci95": interval}


def _seen(judge: Classifier, pictures: list[np.ndarray], crop: str) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] and the classifier's labels, int [N]."""
    faces = judge.preparation(crop).prepare(pictures)
    return judge.features(faces), judge.predict(faces).argmax(axis=1)


def _kid(real: np.ndarray, fake: np.ndarray, n: int, repeats: int, seed: int) -> dict[str, Any]:
    values, floors = [], []
    for repeat in range(repeats):
        chosen = np.random.default_rng((seed, repeat)).permutation(len(real))[: 2 * n]
        values.append({"kid": kid(real[chosen[:n]], fake[repeat * n : (repeat + 1) * n])})
        floors.append({"kid": kid(real[chosen[:n]], real[chosen[n:]])})
    return {**summarize(values, "kid"), "floor": summarize(floors, "kid")}


def _share(agrees: np.ndarray, repeats: int) -> dict[str, Any]:
    parts = np.array_split(agrees, repeats)
    return summarize([{"agreement": float(part.mean())} for part in parts], "agreement")
