"""The pictures of an evaluation's page: heat maps of some faces, and the first layer's filters."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...classify.evaluation.explain import Unexplainable, first_layer, grad_cam, network_inputs
from ...reports.pages.evaluation import Filters, Look, Pictures
from .answers import Answers

_LOOKS = 2  # faces of each class that it got right, and as many that it got wrong


def make_pictures(answers: Answers, network: Any, why_not: str) -> Pictures:
    """Pictures for the page.

    Args:
        why_not: the reason for going without heat maps; empty to make them.
    """
    images, names = answers.faces.images, answers.faces.row_names()

    def face(row: int) -> np.ndarray:
        return np.asarray(images[row])

    if why_not:
        return Pictures(face, notes=(f"There are no heat maps: {why_not}.",))
    chosen = _looks(answers)
    rows, labels = answers.rows[chosen], answers.labels[chosen]
    given = answers.single[chosen].argmax(axis=1)
    inputs = network_inputs(answers.classifier, answers.shown(rows))
    index = np.array([answers.classifier.outputs.index(name) for name in answers.names])
    try:
        for_given, for_true = (grad_cam(network, inputs, index[classes]) for classes in (given, labels))
    except Unexplainable as error:
        return Pictures(face, notes=(f"There are no heat maps: {error}.",))
    looks = []
    for j, row in enumerate(rows):
        maps = (for_given[j],) if given[j] == labels[j] else (for_given[j], for_true[j])
        looks.append(
            Look(
                row=int(row),
                name=str(names[row]),
                label=answers.names[labels[j]],
                given=answers.names[given[j]],
                confidence=float(answers.single[chosen[j], given[j]]),
                maps=tuple(_face_size(heat) for heat in maps),
            )
        )
    try:
        first = first_layer(network, inputs[0])
    except Unexplainable as error:
        return Pictures(face, looks, notes=(f"There is no first layer to show: {error}.",))
    return Pictures(face, looks, Filters(first.name, first.kernels, first.responses, looks[0].name))


def _looks(answers: Answers) -> np.ndarray:
    """Indices of the first right and wrong faces of each class."""
    right = answers.single.argmax(axis=1) == answers.labels
    parts = [
        np.flatnonzero((answers.labels == k) & (right == good))[:_LOOKS]
        for k in range(len(answers.names))
        for good in (True, False)
    ]
    return np.concatenate(parts)


def _face_size(heat: np.ndarray) -> np.ndarray:
    """A map of any size at 48x48."""
    if heat.shape == (48, 48):
        return heat
    return np.asarray(Image.fromarray(heat).resize((48, 48), Image.Resampling.BILINEAR))
