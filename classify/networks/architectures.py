"""Small FER networks in Keras 3: from pixels to features; heads are added by the trainer."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import keras

FACE = (48, 48, 1)
"""What every network takes: gray faces, [H, W, C]."""


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
    x = _conv_bn_relu(x, stem, name="stem1")
    x = _conv_bn_relu(x, widths[0], strides=2, name="stem2")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for block in range(1, depth + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _residual_block(x, width, strides, name=f"stage{stage}_block{block}")
    features = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, features, name="fernet")


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
                x = _conv_bn_relu(x, width, name=name)
            else:
                x = layers.Conv2D(
                    width, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_conv"
                )(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        if block_dropout > 0:
            x = layers.Dropout(block_dropout, name=f"block{block}_dropout")(x)
    features = layers.Flatten(name="features")(x)
    return keras.Model(pixels, features, name="plain_cnn")


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
        x = _batch_norm(x, f"stem{number}")
        x = layers.ReLU(name=f"stem{number}_relu")(x)
    for number, width in enumerate(widths, start=1):
        name = f"module{number}"
        shortcut = _batch_norm(_conv(x, width, 1, 2, f"{name}_project"), f"{name}_project")
        x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"{name}_1_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(_batch_norm(x, f"{name}_1"))
        x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(x)
        x = layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool")(_batch_norm(x, f"{name}_2"))
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    features = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, features, name="mini_xception")


def face_input(size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input ``pixels`` of every network, and the picture that this one sees, resized where it is not 48 wide."""
    pixels = keras.Input(FACE, name="pixels")
    if size == FACE[0]:
        return pixels, pixels
    return pixels, keras.layers.Resizing(size, size, interpolation="bilinear", name="resize")(pixels)


def _conv(x: keras.KerasTensor, width: int, kernel: int, strides: int, name: str) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        width, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def _conv_bn_relu(x: keras.KerasTensor, width: int, *, name: str, strides: int = 1) -> keras.KerasTensor:
    x = _conv(x, width, 3, strides, name=f"{name}_conv")
    return keras.layers.ReLU(name=f"{name}_relu")(_batch_norm(x, name))


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_bn")(x)


def _residual_block(x: keras.KerasTensor, width: int, strides: int, name: str) -> keras.KerasTensor:
    layers = keras.layers
    shortcut = x
    if strides != 1 or x.shape[-1] != width:
        if strides != 1:
            shortcut = layers.AveragePooling2D(strides, name=f"{name}_pool")(shortcut)
        shortcut = _batch_norm(_conv(shortcut, width, 1, 1, name=f"{name}_project"), f"{name}_project")
    x = _conv_bn_relu(x, width, strides=strides, name=f"{name}_1")
    x = _conv(x, width, 3, 1, name=f"{name}_2_conv")
    # gamma 0: the block starts as the identity, which lets a deep net train from a high learning rate
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, gamma_initializer="zeros", name=f"{name}_2_bn")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu")(x)
