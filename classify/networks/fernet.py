"""FERNet: a small residual network, that of the bundled weights."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import keras
from .blocks import batch_norm, conv, conv_bn_relu, face_input


def fernet(
    widths: Sequence[int] = (32, 64, 128, 256), depths: Sequence[int] = (1, 2, 2, 1), stem: int = 16, *, size: int = 48
) -> keras.Model:
    """A small residual CNN for 48x48 gray faces.

    Two convolutions at full and half resolution, then stages of two-convolution residual blocks (He et al. 2016,
    arXiv:1512.03385) at 24, 12, 6 and 3 pixels, then global average pooling. Every image is standardised inside the
    network, so brightness and contrast of the input do not matter.

    Args:
        widths: channels of each stage.
        depths: residual blocks of each stage.
        stem: channels of the first convolution.
        size: side of the picture that is judged, pixels; at others than 48 all of the above grows or shrinks with it.

    Returns:
        A model from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to features float32 [N, widths[-1]].
    """
    layers = keras.layers
    pixels, x = face_input(size)
    # epsilon 1 (in squared grey levels) keeps an almost flat image from being blown up into noise
    x = layers.LayerNormalization(axis=[1, 2, 3], center=False, scale=False, epsilon=1.0, name="standardize")(x)
    x = conv_bn_relu(x, stem, name="stem1")
    x = conv_bn_relu(x, widths[0], strides=2, name="stem2")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for block in range(1, depth + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _residual_block(x, width, strides, name=f"stage{stage}_block{block}")
    features = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, features, name="fernet")


def _residual_block(x: keras.KerasTensor, width: int, strides: int, name: str) -> keras.KerasTensor:
    layers = keras.layers
    shortcut = x
    if strides != 1 or x.shape[-1] != width:
        if strides != 1:
            shortcut = layers.AveragePooling2D(strides, name=f"{name}_pool")(shortcut)
        shortcut = batch_norm(conv(shortcut, width, 1, 1, name=f"{name}_project"), f"{name}_project")
    x = conv_bn_relu(x, width, strides=strides, name=f"{name}_1")
    x = conv(x, width, 3, 1, name=f"{name}_2_conv")
    # gamma 0: the block starts as the identity, which lets a deep net train from a high learning rate
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, gamma_initializer="zeros", name=f"{name}_2_bn")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu")(x)
