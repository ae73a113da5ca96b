"""Freezing: which layers of a network learn in which phase of fine-tuning."""

from __future__ import annotations

import re

from ...runtime.errors import UsageError
from ..backend import keras
from ..recipes import ModelSettings

_PREPARING = ("resize", "rgb", "scale")
"""Layers between the pixels and a backbone; they have nothing to learn and do not count in :func:`set_trainable`."""


def set_trainable(network: keras.Model, model: ModelSettings, phase: int) -> None:
    """Freeze the layers that a phase of fine-tuning leaves alone, and free all others. Compile the network afterwards.

    Phase 1 trains the head alone (:attr:`ModelSettings.phase_one_epochs`), phase 2 all that the settings do not freeze.
    A frozen batch normalisation uses and keeps its averages. Without weights to keep nothing is frozen.

    Raises:
        UsageError: there are fewer layers than are to be frozen or trained, or nothing is left to train.
    """
    if phase not in (1, 2):
        raise UsageError(f"phase must be 1 or 2, not {phase}")
    backbone = backbone_layers(network)
    for layer in network.layers:
        layer.trainable = True
    if model.weights == "none":
        return
    count = len(backbone)
    for key in ("freeze_first", "train_last"):
        if getattr(model, key) > count:
            raise UsageError(f"{key} is {getattr(model, key)}, but {model.architecture} has {count} layers")
    frozen = count if phase == 1 else model.freeze_first or (count - model.train_last if model.train_last else 0)
    for number, layer in enumerate(backbone):
        matches = bool(model.freeze_matching) and re.search(model.freeze_matching, layer.name) is not None
        normalises = model.freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not (number < frozen or matches or normalises)


def backbone_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers between pixels and features as ``keras.applications`` lists them: the input layer is the first."""
    names = [layer.name for layer in network.layers]
    return [layer for layer in network.layers[: names.index("features")] if layer.name not in _PREPARING]
