"""Networks by name: the small ones of ``architectures.py`` and published backbones through ``keras.applications``.

Whatever a backbone expects is done inside the model with stock layers, so that every saved network takes the same gray
faces: ``pixels`` [N, 48, 48, 1], 0..255.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, UsageError
from ..backend import keras
from ..recipes import ModelSettings
from .architectures import face_input, fernet, mini_xception, plain_cnn

_PREPARING = ("resize", "rgb", "scale")
"""Layers between the pixels and a backbone; they have nothing to learn and do not count in :func:`set_trainable`."""

# What each backbone was trained on: channels of -1..1, channels less ImageNet's mean (blue, green, red), or 0..255.
_SYMMETRIC = {"scale": 1 / 127.5, "offset": -1.0}
_LESS_MEAN = {"scale": 1.0, "offset": [-103.939, -116.779, -123.68]}


def _application(name: str, scaling: Mapping[str, Any], *, size: int, pretrained: bool = False) -> keras.Model:
    """A network of ``keras.applications`` without its top, averaged over space.

    Args:
        name: of the class in ``keras.applications``.
        scaling: arguments of the Rescaling layer before it; empty for none.
        size: side of the picture that it sees, pixels.
        pretrained: with ImageNet's weights.
    """
    layers = keras.layers
    pixels, x = face_input(size)
    x = layers.Concatenate(name="rgb")([x, x, x])
    if scaling:
        x = layers.Rescaling(**scaling, name="scale")(x)
    base = getattr(keras.applications, name)(
        include_top=False, weights="imagenet" if pretrained else None, input_tensor=x, input_shape=(size, size, 3)
    )
    features = layers.GlobalAveragePooling2D(name="features")(base.output)
    return keras.Model(pixels, features, name=name.lower())


_APPLICATIONS: dict[str, Callable[..., keras.Model]] = {
    "vgg16": partial(_application, "VGG16", _LESS_MEAN),
    "vgg19": partial(_application, "VGG19", _LESS_MEAN),
    "inceptionv3": partial(_application, "InceptionV3", _SYMMETRIC),
    "resnet50": partial(_application, "ResNet50", _LESS_MEAN),
    "mobilenetv2": partial(_application, "MobileNetV2", _SYMMETRIC),
    "efficientnetb0": partial(_application, "EfficientNetB0", {}),
}

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "fernet": fernet,
    "plain_cnn": plain_cnn,
    "mini_xception": mini_xception,
    **_APPLICATIONS,
}
"""By name: from ``size`` and options to a model from ``pixels`` to the layer ``features``."""


def build_model(model: ModelSettings, classes: int) -> keras.Model:
    """The network of a recipe without its head.

    Its weights may be pretrained, and a backbone's layers may depend on where they come from, so a trainer that needs a
    copy should clone the model and set its weights rather than build it again.

    Args:
        model: what to build.
        classes: of the head to come; nothing before it depends on them.

    Returns:
        A flat model of stock layers from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to float32 [N, D]: the layer
        ``features``, followed by ``dense_1``, ``dense_2`` ... where the settings ask for them. All layers are
        trainable; :func:`set_trainable` freezes some.

    Raises:
        UsageError: an unknown architecture or option, or one that Keras refuses.
        DataError: weights that cannot be had or do not fit.
    """
    if classes < 2:
        raise UsageError(f"a classifier tells at least 2 classes apart, not {classes}")
    name = model.architecture
    if name not in ARCHITECTURES:
        raise UsageError(f"no architecture is called {name!r}; known are: {', '.join(ARCHITECTURES)}")
    pretrained = model.weights == "imagenet"
    options: dict[str, Any] = {"size": model.size, **model.options}
    if pretrained:
        if name not in _APPLICATIONS:
            raise UsageError(f"{name} has no ImageNet weights; set weights to none or a file")
        options["pretrained"] = True
    try:
        with _fetching(name) if pretrained else contextlib.nullcontext():
            backbone = ARCHITECTURES[name](**options)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{key} = {value}" for key, value in options.items())
        raise UsageError(f"{name} cannot be built with {shown} ({_first_line(error)})") from error
    if model.weights not in ("none", "imagenet"):
        _load(backbone, Path(model.weights))
    x = backbone.output
    for number, width in enumerate(model.dense, start=1):
        x = keras.layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"dense_{number}")(x)
    return keras.Model(backbone.input, x, name=backbone.name)


def set_trainable(network: keras.Model, model: ModelSettings, phase: int) -> None:
    """Freeze the layers that a phase of fine-tuning leaves alone, and free all others. Compile the network afterwards.

    Phase 1 trains the head alone (:attr:`ModelSettings.phase_one_epochs`), phase 2 all that the settings do not freeze.
    A frozen batch normalisation uses and keeps its averages. Without weights to keep nothing is frozen.

    Args:
        network: made by :func:`build_model`, or a clone of that with heads; layers are known by order and name.
        model: the settings that it was built by.
        phase: 1 or 2.

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


def size_of(model: ModelSettings, classes: int = 7) -> dict[str, int]:
    """Size of a recipe's network with its head.

    Returns:
        ``parameters`` (with batch normalisation's averages) and ``multiply_adds`` for one face.
    """
    network = build_model(model, classes)
    width = network.output.shape[-1]
    return {
        "parameters": network.count_params() + (width + 1) * classes,
        "multiply_adds": multiply_adds(network) + width * classes,
    }


@contextlib.contextmanager
def _fetching(name: str) -> Iterator[None]:
    """Keras' download messages go to the error stream; its failure becomes one line that says what to do."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (TypeError, ValueError):
        raise
    except Exception as error:  # keras.utils.get_file raises plain Exception
        text = _first_line(error)
        found = re.search(r"https?://\S+/([\w.-]+\.h5)", text)
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        file = found[1] if found else "the weights' file"
        origin = f"; from elsewhere fetch {found[0]}" if found else ""
        raise DataError(
            f"{name}: its ImageNet weights are not in {folder} ({file}) and cannot be fetched ({text}); "
            f"--weights none trains from scratch{origin} into that folder"
        ) from error


def _load(backbone: keras.Model, path: Path) -> None:
    """Weights from a file: a saved classifier's layers of the same names, or ``.h5`` weights without top."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such weights file; give none, imagenet, or a .keras or .h5 file")
    try:
        if path.suffix == ".keras":
            _copy_by_name(keras.saving.load_model(path, compile=False, safe_mode=True), backbone)
        else:
            backbone.load_weights(path)
    except Exception as error:  # on damaged files Keras raises almost any type
        raise DataError(f"{path}: holds no weights for {backbone.name} ({_first_line(error)})") from error


def _copy_by_name(source: keras.Model, target: keras.Model) -> None:
    there = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if layer.weights:
            if layer.name not in there:
                raise ValueError(f"it has no layer {layer.name}")
            layer.set_weights(there[layer.name].get_weights())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
