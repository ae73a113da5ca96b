"""A network after mini-Xception (Arriaga et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import keras
from .blocks import batch_norm, conv, face_input


def mini_xception(stem: int = 8, widths: Sequence[int] = (16, 32, 64, 128), *, size: int = 64) -> keras.Model:
    """After mini-Xception (Arriaga et al. 2017, arXiv:1710.07557): separable convolutions with residual connections.

    Two convolutions, then modules of two separable convolutions and max pooling beside a 1x1 convolution of stride 2.
    The original ends with a convolution to the classes that is averaged over space; here the trainer's head sees the
    averaged channels, which saves that convolution's 3x3 kernel.

    Args:
        stem: channels of the two first convolutions.
        widths: channels of each module.
        size: side of the picture that is judged, pixels.

    Returns:
        A model from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to features float32 [N, widths[-1]].
    """
    layers = keras.layers
    pixels, x = face_input(size)
    x = layers.Rescaling(1 / 127.5, -1.0, name="scale")(x)
    for number in (1, 2):
        x = layers.Conv2D(stem, 3, use_bias=False, kernel_initializer="he_normal", name=f"stem{number}_conv")(x)
        x = batch_norm(x, f"stem{number}")
        x = layers.ReLU(name=f"stem{number}_relu")(x)
    for number, width in enumerate(widths, start=1):
        name = f"module{number}"
        shortcut = batch_norm(conv(x, width, 1, 2, f"{name}_project"), f"{name}_project")
        x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"{name}_1_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(batch_norm(x, f"{name}_1"))
        x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(x)
        x = layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool")(batch_norm(x, f"{name}_2"))
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    features = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, features, name="mini_xception")
