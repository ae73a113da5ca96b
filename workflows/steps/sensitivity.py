"""How much do labels depend on crop and filter? The same faces, judged in several ways by the run's classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ...classify.bundled import bundled_classifiers
from ...classify.classifier import Classifier, load_classifier
from ...classify.feature_reference import mahalanobis, read_feature_reference
from ...data.faces import CROPS, FFHQ_BOX, FILTER, Box, Preparation, detect_faces, part_of_square
from ...data.run_record.settings import ClassifyRecord
from ...reports.settings import plain
from ...reports.statistics.differences.preparation import preparation_record
from ...runtime.errors import DataError, UsageError
from ...runtime.files import json_text, printable, write_atomically
from ..progress import OnProgress, no_progress
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import read_inputs
from ..run_folder.pictures import FaceReader, Picture

FACES = 200
_SHARD = 32

Shrink = Callable[[Image.Image, tuple[int, int], Box], Image.Image]
"""A picture, (width, height) and the part of the picture that becomes so large."""


def _antialiased(resampling: Image.Resampling) -> Shrink:
    return lambda picture, size, box: picture.resize(size, resampling, box=box)


def _pointwise(resampling: Image.Resampling) -> Shrink:
    """Interpolated between neighbouring pixels only, however many lie under one pixel of the result."""
    return lambda picture, size, box: picture.transform(size, Image.Transform.EXTENT, box, resampling)


FILTERS: dict[str, Shrink] = {
    FILTER: _antialiased(Image.Resampling.BICUBIC),
    "Pillow bilinear": _antialiased(Image.Resampling.BILINEAR),
    "Pillow Lanczos": _antialiased(Image.Resampling.LANCZOS),
    "Pillow box": _antialiased(Image.Resampling.BOX),
    "bilinear, not antialiased": _pointwise(Image.Resampling.BILINEAR),
    "nearest, not antialiased": _pointwise(Image.Resampling.NEAREST),
}
"""Ways to shrink a face; the first is that of :mod:`fergan.data.faces`."""


def measure_sensitivity(
    run: RunFolder,
    n: int = FACES,
    model: str | None = None,
    device: str = "auto",
    on_progress: OnProgress = no_progress,
) -> int:
    """Judge a random sample of a run's faces under each crop, and under each filter with the run's own crop.

    The labels go into ``sensitivity.json``, and how far the faces lie from the classifier's training faces in its
    features, where it comes with those (see :mod:`fergan.classify.feature_reference`); the report shows both. The
    sample depends on the run alone. Returns how many faces were judged.

    Args:
        n: faces in the sample; all of them where there are not more.
        model: the file of the run's classifier; by default the bundled one of its name.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DataError: a picture cannot be read, or the classifier is not the one of the run.
        UsageError: the run's classifier is not bundled and ``model`` not given, or that is another one.
    """
    table = read_inputs(run).table
    used = run.classify or ClassifyRecord()
    classifier = _same_classifier(run, used, model, device)
    size = min(n, len(table))
    rows = np.sort(np.random.default_rng(0).choice(len(table), size, replace=False))
    crops = sorted(CROPS, key=lambda crop: crop != used.crop)  # the run's own first
    variants = [(crop, FILTER) for crop in crops] + [(crops[0], name) for name in FILTERS if name != FILTER]
    codes = np.empty((len(variants), size), np.int64)
    missed = dict.fromkeys(CROPS, 0)
    read = FaceReader(run)
    assert classifier.source is not None
    stored = read_feature_reference(classifier.source)
    distances: list[float] = []
    for start in range(0, size, _SHARD):
        part = rows[start : start + _SHARD]
        boxes = _boxes([read(table.faces[row]) for row in part], missed)
        for index, (crop, name) in enumerate(variants):
            prepared = np.stack([_prepared(*cut, name, classifier.preparation()) for cut in boxes[crop]])
            codes[index, start : start + len(part)] = classifier.predict(prepared).argmax(axis=1)
            if index == 0 and stored is not None:
                distances += mahalanobis(classifier.features(prepared), stored.training).tolist()
        on_progress(start + len(part), size)
    record = preparation_record(
        classifier.sha256,
        table.classes,
        [str(plain(table.faces[row])) for row in rows],
        [
            {"crop": crop, "filter": name, "codes": codes[index].tolist(), "missed": missed[crop]}
            for index, (crop, name) in enumerate(variants)
        ],
        None if stored is None else (distances, stored.validation_distances.tolist()),
    )
    write_atomically(run.sensitivity, json_text(record).encode())
    return size


def _same_classifier(run: RunFolder, used: ClassifyRecord, model: str | None, device: str) -> Classifier:
    """The classifier that labelled the run, opened again."""
    place = printable(run.path)
    if used.crop not in CROPS:
        raise DataError(f"{place}: does not tell the crop of its faces; classify them again")
    if model is None and used.model not in bundled_classifiers():
        raise UsageError(f"{place} was labelled by {used.model}, not a bundled one; give its file with --model")
    classifier = load_classifier(
        model or used.model,
        device=device,
        labels=used.columns or used.labels,
        input_range=used.input_range,  # type: ignore[arg-type]
        view="own" if used.other.get("view") == "own" else "48",
    )
    if classifier.sha256 != used.sha256:
        raise UsageError(
            f"{place} was labelled by another classifier than the {classifier.name} that is here "
            f"(SHA-256 {str(used.sha256)[:12]}…, now {classifier.sha256[:12]}…); "
            "give that one's file with --model, or classify again"
        )
    return classifier


def _boxes(pictures: Sequence[Picture], missed: dict[str, int]) -> dict[str, list[tuple[Picture, Box]]]:
    """For each crop the picture that is shrunk and the part of it; counts the faces that the detector did not find."""
    whole = [(picture, _part(picture, (0.0, 0.0, 1.0, 1.0))) for picture in pictures]
    found = detect_faces(pictures)
    missed["detect"] += sum(box is None for box in found)
    return {
        "none": whole,
        "ffhq": [(picture, _part(picture, FFHQ_BOX)) for picture in pictures],
        "detect": [view if box is None else _cut(view[0], box) for box, view in zip(found, whole, strict=True)],
    }


def _part(picture: Picture, part: Box) -> Box:
    return part_of_square(picture.shape[1], picture.shape[0], part)


def _cut(picture: Picture, box: Box) -> tuple[Picture, Box]:
    """A found face cut out before it is shrunk, as :func:`fergan.data.faces.prepare_faces` does."""
    left, top, right, bottom = map(int, box)
    return picture[top:bottom, left:right], (0.0, 0.0, float(right - left), float(bottom - top))


def _prepared(picture: Picture, box: Box, name: str, preparation: Preparation) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("L" if preparation.colour == "gray" else "RGB")
    return np.asarray(FILTERS[name](image, preparation.size[::-1], box))
