"""A plain CNN: blocks of convolutions and max pooling."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import keras
from .blocks import conv_bn_relu, face_input


def plain_cnn(
    widths: Sequence[int] = (32, 64, 128),
    convolutions: int = 2,
    batch_norm: bool = False,
    block_dropout: float = 0.0,
    *,
    size: int = 48,
) -> keras.Model:
    """The network of most first projects: blocks of 3x3 convolutions and max pooling, then all values side by side.

    Args:
        widths: channels of each block; each ends with 2x2 max pooling.
        convolutions: of each block.
        batch_norm: after each convolution.
        block_dropout: after each pooling; dropout before the head is the trainer's.
        size: side of the picture that is judged, pixels.

    Returns:
        A model from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to features float32 [N, D], D = widths[-1] times the
        pixels that are left.
    """
    layers = keras.layers
    pixels, x = face_input(size)
    x = layers.Rescaling(1 / 255, name="scale")(x)
    for block, width in enumerate(widths, start=1):
        for number in range(1, convolutions + 1):
            name = f"block{block}_{number}"
            if batch_norm:
                x = conv_bn_relu(x, width, name=name)
            else:
                x = layers.Conv2D(
                    width, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_conv"
                )(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        if block_dropout > 0:
            x = layers.Dropout(block_dropout, name=f"block{block}_dropout")(x)
    features = layers.Flatten(name="features")(x)
    return keras.Model(pixels, features, name="plain_cnn")
