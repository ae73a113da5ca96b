"""Networks by name: ours, and published backbones of ``keras.applications``; their weights and their size.

Every network takes the same gray faces, ``pixels`` [N, 48, 48, 1] in 0..255; a backbone's own preprocessing is inside
the model.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, UsageError, first_line
from ...runtime.files import read_regular
from ..backend import keras
from ..bundled import bundled_classifier
from ..files.bounded import Limits
from ..files.network import try_first
from ..files.open import open_keras_model
from ..keras_files.safety import Refused, check_hdf5
from ..recipes import ModelSettings
from .applications import APPLICATIONS, fetching
from .efficientnet_lite import efficientnet_lite0
from .fernet import fernet
from .mini_xception import mini_xception
from .plain_cnn import plain_cnn

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "fernet": fernet,
    "plain_cnn": plain_cnn,
    "mini_xception": mini_xception,
    "efficientnet_lite0": efficientnet_lite0,
    **APPLICATIONS,
}
"""By name: from ``size`` and options to a model from ``pixels`` to the layer ``features``."""


def build_model(model: ModelSettings) -> keras.Model:
    """The network of a recipe without its head.

    Its weights may be pretrained, and a backbone's layers may depend on where they come from, so a trainer that needs a
    copy should clone the model and set its weights rather than build it again.

    Returns:
        A flat model of stock layers from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to float32 [N, D]: the layer
        ``features``, followed by ``dense_1``, ``dense_2`` ... where the settings ask for them. All layers are
        trainable; :func:`.freezing.set_trainable` freezes some.

    Raises:
        UsageError: an unknown architecture or option, or one that Keras refuses.
        DataError: weights that cannot be fetched or do not fit.
    """
    name = model.architecture
    if name not in ARCHITECTURES:
        raise UsageError(f"no architecture is called {name!r}; known are: {', '.join(ARCHITECTURES)}")
    pretrained = model.weights == "imagenet"
    options: dict[str, Any] = {"size": model.size, **model.options}
    if pretrained:
        if name not in (*APPLICATIONS, "efficientnet_lite0"):
            raise UsageError(f"{name} has no ImageNet weights; set weights to none or a file")
        options["pretrained"] = True
    try:
        with fetching(name) if pretrained else contextlib.nullcontext():
            backbone = ARCHITECTURES[name](**options)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{key} = {value}" for key, value in options.items())
        raise UsageError(f"{name} cannot be built with {shown} ({first_line(error)})") from error
    if model.weights not in ("none", "imagenet"):
        _load(backbone, bundled_classifier(model.weights) or Path(model.weights))
    x = backbone.output
    for number, width in enumerate(model.dense, start=1):
        x = keras.layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"dense_{number}")(x)
    return keras.Model(backbone.input, x, name=backbone.name)


def multiply_adds(network: keras.Model) -> int:
    """Multiply-adds for one face in convolutions and dense layers; nested models are counted once, all else is free."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            total += multiply_adds(layer)
            continue
        kernels = [getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
        size = sum(math.prod(kernel.shape) for kernel in kernels if kernel is not None)
        if size:  # each weight of a kernel is used once for each place of the output
            total += size * math.prod(layer.output.shape[1:-1])
    return total


def _load(backbone: keras.Model, path: Path) -> None:
    """Weights from a file: a saved classifier's layers of the same names, or ``.h5`` weights without top.

    The file is a stranger's: it is tried as classifiers are, and what has been checked is what is loaded.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such weights file; give none, imagenet, a bundled classifier's name, or a "
            ".keras or .h5 file"
        )
    try:
        content = read_regular(path)
        if path.suffix == ".keras":
            _copy_by_name(open_keras_model(path, content), backbone)
            return
        try_first(path, Limits(len(content)), lambda: check_hdf5(content))
        check_hdf5(content)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name  # Keras tells the layouts apart by the ending
            copy.write_bytes(content)
            backbone.load_weights(copy)
    except Refused as error:
        raise DataError(f"{path}: cannot be used: {error}") from error
    except DataError:
        raise
    except Exception as error:  # on damaged files Keras raises almost any type
        raise DataError(f"{path}: holds no weights for {backbone.name} ({first_line(error)})") from error


def _copy_by_name(source: keras.Model, target: keras.Model) -> None:
    found = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if layer.weights:
            if layer.name not in found:
                raise ValueError(f"it has no layer {layer.name}")
            layer.set_weights(found[layer.name].get_weights())
