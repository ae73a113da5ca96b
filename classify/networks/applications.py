"""Published backbones through ``keras.applications``; each prepares its input by stock layers inside the model."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, first_line
from ..backend import keras
from .blocks import face_input

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


APPLICATIONS: dict[str, Callable[..., keras.Model]] = {
    "vgg16": partial(_application, "VGG16", _LESS_MEAN),
    "vgg19": partial(_application, "VGG19", _LESS_MEAN),
    "inceptionv3": partial(_application, "InceptionV3", _SYMMETRIC),
    "resnet50": partial(_application, "ResNet50", _LESS_MEAN),
    "mobilenetv2": partial(_application, "MobileNetV2", _SYMMETRIC),
    "efficientnetb0": partial(_application, "EfficientNetB0", {}),
}
"""Backbones by name, each from ``size`` and ``pretrained`` to a model that ends with the layer ``features``."""


@contextlib.contextmanager
def fetching(name: str) -> Iterator[None]:
    """Keras' download messages go to the error stream; its failure becomes one line that says what to do."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (TypeError, ValueError):
        raise
    except Exception as error:  # keras.utils.get_file raises plain Exception
        text = first_line(error)
        found = re.search(r"https?://\S+/([\w.-]+\.h5)", text)
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        file = found[1] if found else "the weights' file"
        origin = f"; from elsewhere fetch {found[0]}" if found else ""
        raise DataError(
            f"{name}: its ImageNet weights are not in {folder} ({file}) and cannot be fetched ({text}); "
            f"--weights none trains from scratch{origin} into that folder"
        ) from error
