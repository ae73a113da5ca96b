"""The input and the blocks that several networks are made of."""

from __future__ import annotations

from ..backend import keras

FACE = (48, 48, 1)
"""Input shape of every network: gray faces, [H, W, C]."""


def face_input(size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input ``pixels`` of every network, and the picture that this one sees, resized where it is not 48 wide."""
    pixels = keras.Input(FACE, name="pixels")
    if size == FACE[0]:
        return pixels, pixels
    return pixels, keras.layers.Resizing(size, size, interpolation="bilinear", name="resize")(pixels)


def conv(x: keras.KerasTensor, width: int, kernel: int, strides: int, name: str) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        width, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def conv_bn_relu(x: keras.KerasTensor, width: int, *, name: str, strides: int = 1) -> keras.KerasTensor:
    x = conv(x, width, 3, strides, name=f"{name}_conv")
    return keras.layers.ReLU(name=f"{name}_relu")(batch_norm(x, name))


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_bn")(x)
