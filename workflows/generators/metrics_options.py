"""The options of ``fergan metrics``, for the modules that measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricsOptions:
    """What to judge, and how.

    Attributes:
        data: folder, zip or FER2013 CSV (its Training rows) of the real pictures.
        network: the generator, as for ``generate``; None for the best bundled one.
        images: judge the pictures of this folder, zip or CSV in place of a generator's.
        held_out: real pictures that the generator never saw, for the gap; of a CSV, the PublicTest rows.
        n: pictures a side in each comparison; None = half of the data, at most ``metrics.DEFAULT_N``.
        repeats: comparisons, each with new fakes and another choice of real pictures.
        seed: the first of the generator's seeds, and of the choice of pictures.
        truncation_psi: None for the generator's own default.
        class_index: of a conditional generator; None draws classes as often as the data have them.
        features: kinds of features by name, joined by commas: see ``FEATURES``.
        model: the classifier of the ``fer`` features; None for fernet.
        crop: of the ``fer`` features, see :func:`fergan.data.faces.prepare_faces`.
        by_class: compare class by class too; only for conditional generators.
        neighbours: where to write the sheet of nearest training images; None = not looked for.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    data: str
    network: str | None = None
    images: str | None = None
    held_out: str | None = None
    n: int | None = None
    repeats: int = 5
    seed: int = 0
    truncation_psi: float | None = None
    class_index: int | str | None = None
    features: str = "fer"
    model: str | None = None
    crop: str = "none"
    by_class: bool = False
    neighbours: str | None = None
    device: str = "auto"
