"""How far the faces of a sweep over strengths went, and whether they broke: measured on pictures, kept in run.json."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...data.run_record.run import EditedRecord, EditedStrength
from ...reports.edited import strengths_of
from ...stylegan.metrics import PRECISION_K, precision_recall
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import read_judges
from ..run_folder.pictures import FaceReader, Picture, kept_rows
from .features import compute_features, identity_features

SEEDS = 200
"""Seeds that are measured at each strength."""


def measure_edited(run: RunFolder, held: Mapping[str, Picture] | None = None, device: str = "auto") -> None:
    """Measure the pictures of a sweep over strengths, once; nothing for other runs, or where pictures were not kept.

    Raises:
        DataError: a picture cannot be read, or ``run.json`` cannot be written.
    """
    made = run.generate
    if made is None or made.edit_sweep is None or run.record.edited:
        return
    table = read_judges(run)[0][0].table
    strengths = strengths_of(made, table)
    if strengths is None or table.seeds is None or kept_rows(run, table) is not None:
        return
    values = np.unique(strengths)
    places = {
        (seed, s): row for row, (seed, s) in enumerate(zip(table.seeds.tolist(), strengths.tolist(), strict=True))
    }
    seeds = sorted({seed for seed, _ in places})
    seeds = [seed for seed in seeds if all((seed, value) in places for value in values.tolist())][:SEEDS]
    if len(seeds) < 2:
        return
    reader, space = FaceReader(run, held), identity_features(device)
    features = {}
    for value in values.tolist():
        names = [str(table.faces[places[seed, value]]) for seed in seeds]
        pictures = (np.atleast_3d(reader(name)) for name in names)
        features[value] = compute_features(pictures, len(names), [space])[0][space.name]
    run.put(edited=EditedRecord(space.name, len(seeds), by_strength(features)))


def by_strength(features: Mapping[float, np.ndarray]) -> tuple[EditedStrength, ...]:
    """Compare the features of the same seeds at several strengths.

    Args:
        features: strength -> [N, D], at least 2 rows, those of one seed in the same place.

    Returns:
        For each strength how far faces moved from those of the strength nearest to 0, as a share of the
        distance of two of these; and the precision, the share of faces inside those of other seeds there, with the two
        halves of the seeds as each other's reference; None where seeds are too few for it.
    """
    start = features[min(features, key=abs)].astype(np.float64)
    between = float(np.linalg.norm(start[1:] - start[:-1], axis=1).mean())
    halves = (slice(0, None, 2), slice(1, None, 2))
    found = []
    for strength, rows in features.items():
        moved = float(np.linalg.norm(rows - start, axis=1).mean())
        precision = None
        if len(start) >= 2 * (PRECISION_K + 1):
            sides = [precision_recall(start[a], rows[b])[0] for a, b in (halves, halves[::-1])]
            precision = float(np.mean(sides))
        found.append(EditedStrength(strength, moved / between if between else 0.0, precision))
    return tuple(found)
