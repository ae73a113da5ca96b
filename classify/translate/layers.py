"""Keras layers as torch operations; one function a layer, by name in :data:`LAYERS`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
from torch.nn import functional as F

from ..keras_files.errors import Untranslatable
from .operations import Activation, Affine, Convolution, Dense, Function, Operation, Sum, channels_last, pad_same
from .options import Options, Shapes, Variables, axis_of, borders, channel_count, checked, numbers

Tensor = torch.Tensor

MOST_VALUES = 2**24
"""Largest input, padded or resized picture that is tried, in numbers for each face."""

Builder = Callable[[Options, Variables, Shapes], Sequence[Operation]]


_ACTIVATIONS: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "relu": lambda x, inplace: F.relu(x, inplace),
    "relu6": lambda x, inplace: F.relu6(x, inplace),
    "leaky_relu": lambda x, inplace: F.leaky_relu(x, 0.2, inplace),
    "elu": lambda x, inplace: F.elu(x, 1.0, inplace),
    "selu": lambda x, inplace: F.selu(x, inplace),
    "silu": lambda x, inplace: F.silu(x, inplace),
    "swish": lambda x, inplace: F.silu(x, inplace),
    "hard_silu": lambda x, inplace: F.hardswish(x, inplace),
    "hard_swish": lambda x, inplace: F.hardswish(x, inplace),
    "hard_sigmoid": lambda x, inplace: F.hardsigmoid(x, inplace),
    "legacy_hard_sigmoid": lambda x, inplace: (0.2 * x + 0.5).clamp(0, 1),  # of Keras 1 and 2, see keras_h5
    "mish": lambda x, inplace: F.mish(x, inplace),
    "gelu": lambda x, inplace: F.gelu(x),
    "sigmoid": lambda x, inplace: x.sigmoid_() if inplace else x.sigmoid(),
    "tanh": lambda x, inplace: x.tanh_() if inplace else x.tanh(),
    "softplus": lambda x, inplace: F.softplus(x),
    "softmax": lambda x, inplace: torch.softmax(x, dim=-1),
}


def _activation(options: Options) -> list[Operation]:
    name = options("activation", "linear")
    if name in (None, "linear"):
        return []
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise Untranslatable(f"{options.name}: there is no translation of the activation {name!r}")
    return [Activation(_ACTIVATIONS[name])]


def _activation_layer(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    return _activation(options)


def _relu(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    options.require("threshold", 0)
    slope, most = options("negative_slope", 0), options("max_value")
    if most is None:
        return (
            [Activation(lambda x, inplace: F.leaky_relu(x, slope, inplace))]
            if slope
            else [Activation(_ACTIVATIONS["relu"])]
        )
    if slope:
        raise Untranslatable(f"{options.name}: is a leaky ReLU with a greatest value")
    return [Activation(lambda x, inplace: F.hardtanh(x, 0.0, most, inplace))]


def _leaky_relu(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    slope = float(options("negative_slope"))
    return [Activation(lambda x, inplace: F.leaky_relu(x, slope, inplace))]


def _elu(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    alpha = float(options("alpha", 1.0))
    return [Activation(lambda x, inplace: F.elu(x, alpha, inplace))]


def _prelu(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    shared = options("shared_axes") or ()
    shape = tuple(1 if axis in shared else n for axis, n in enumerate(shapes[0][1:], start=1))
    (alpha,) = checked(options, variables, shape)
    return [Function(lambda x: torch.where(x > 0, x, alpha * x), fresh=True)]


def _softmax(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    axis = options("axis", -1)
    (axis,) = axis if isinstance(axis, list) else [axis]
    return [Function(partial(torch.softmax, dim=axis_of(options, axis, shapes)), fresh=True)]


def _conv2d(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    size, groups, filters = options.pair("kernel_size"), options("groups", 1), options("filters")
    kernel = (*size, shapes[0][-1] // groups, filters)
    weight, *bias = checked(
        options, variables, kernel, *([(filters,)] if options.require("use_bias", True, False) else [])
    )
    return [_convolution(options, weight.permute(3, 2, 0, 1), bias, groups=groups), *_activation(options)]


def _convolution(options: Options, weight: Tensor, bias: list[Tensor], groups: int = 1) -> Convolution:
    options.require("data_format", "channels_last")
    return Convolution(
        channels_last(weight),
        bias[0] if bias else None,
        options.pair("strides", 1),
        options.pair("dilation_rate", 1),
        groups,
        options.require("padding", "valid", "same") == "same",
    )


def _depthwise_conv2d(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    channels, times = shapes[0][-1], options("depth_multiplier", 1)
    kernel = (*options.pair("kernel_size"), channels, times)
    weight, *bias = checked(
        options, variables, kernel, *([(channels * times,)] if options.require("use_bias", True, False) else [])
    )
    return [_convolution(options, _depthwise(weight), bias, groups=channels), *_activation(options)]


def _depthwise(kernel: Tensor) -> Tensor:
    """[h, w, C, M] -> [C * M, 1, h, w]."""
    return kernel.permute(2, 3, 0, 1).flatten(0, 1)[:, None]


def _separable_conv2d(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    channels, times, filters = shapes[0][-1], options("depth_multiplier", 1), options("filters")
    options.require("groups", 1)
    wanted = [(*options.pair("kernel_size"), channels, times), (1, 1, channels * times, filters)]
    depth, point, *bias = checked(
        options, variables, *wanted, *([(filters,)] if options.require("use_bias", True, False) else [])
    )
    return [
        _convolution(options, _depthwise(depth), [], groups=channels),
        Convolution(channels_last(point.permute(3, 2, 0, 1)), bias[0] if bias else None),
        *_activation(options),
    ]


def _dense(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    units = options("units")
    weight, *bias = checked(
        options, variables, (shapes[0][-1], units), *([(units,)] if options.require("use_bias", True, False) else [])
    )
    return [Dense(weight.T[:, :, None, None].contiguous(), bias[0] if bias else None), *_activation(options)]


def _batch_normalization(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    channels, epsilon = channel_count(options, options("axis", -1), shapes), options("epsilon")
    scaled, centred = options.require("scale", True, False), options.require("center", True, False)
    found = checked(options, variables, *[(channels,)] * (2 + bool(scaled) + bool(centred)))
    gamma = found.pop(0).double() if scaled else 1.0
    beta = found.pop(0).double() if centred else 0.0
    mean, variance = (variable.double() for variable in found)
    factor = gamma / (variance + epsilon).sqrt()
    return [Affine(factor.float(), (beta - mean * factor).float())]


def _layer_normalization(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    axes, epsilon = options("axis"), options("epsilon")
    rank = len(shapes[0])
    axes = sorted(axis_of(options, axis, shapes) for axis in (axes if isinstance(axes, list) else [axes]))
    if axes != list(range(rank - len(axes), rank)):
        raise Untranslatable(f"{options.name}: normalises along the axes {axes} of {rank}")
    over = shapes[0][rank - len(axes) :]
    scaled, centred = options.require("scale", True, False), options.require("center", True, False)
    found = checked(options, variables, *[over] * (bool(scaled) + bool(centred)))
    gamma = found.pop(0) if scaled else None
    beta = found.pop(0) if centred else None
    return [Function(lambda x: F.layer_norm(x, over, gamma, beta, epsilon), fresh=True)]


def _rescaling(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    scale, offset = numbers(options, "scale", shapes), numbers(options, "offset", shapes)
    return [Affine(scale.float(), offset.float())]


def _normalization(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    mean, variance = numbers(options, "mean", shapes), numbers(options, "variance", shapes)
    axis = options("axis")
    shape = () if axis in (None, []) else (channel_count(options, axis, shapes),)
    if variables:
        mean, variance, _ = checked(options, variables, shape, shape, ())
    elif mean.ndim > len(shape):
        raise Untranslatable(f"{options.name}: has a mean for each channel, but works along no axis")
    factor = 1 / variance.double().sqrt().clamp(min=1e-7)  # Keras' epsilon, so that flat channels do not divide by 0
    return [Affine(factor.float(), (-mean.double() * factor).float())]


def _pool(options: Options, variables: Variables, shapes: Shapes, *, average: bool) -> list[Operation]:
    options.require("data_format", "channels_last")
    size = options.pair("pool_size")
    strides, same = options.pair("strides", size), options.require("padding", "valid", "same") == "same"

    def pool(x: Tensor) -> Tensor:
        x, padding = x.permute(0, 3, 1, 2), (0, 0)
        if same:
            before = x.shape
            x, padding = pad_same(x, size, strides, (1, 1), -math.inf)
            if average and x.shape != before:  # Keras' backends disagree on what the average counts at the border
                raise Untranslatable(f"{options.name}: averages over uneven padding")
        if average:
            return F.avg_pool2d(x, size, strides, padding, count_include_pad=False).permute(0, 2, 3, 1)
        return F.max_pool2d(x, size, strides, padding).permute(0, 2, 3, 1)

    return [Function(pool, fresh=True)]


def _global_pool(options: Options, variables: Variables, shapes: Shapes, *, average: bool) -> list[Operation]:
    options.require("data_format", "channels_last")
    keep = bool(options("keepdims", False))
    if average:
        return [Function(lambda x: x.mean(dim=(1, 2), keepdim=keep), fresh=True)]
    return [Function(lambda x: x.amax(dim=(1, 2), keepdim=keep), fresh=True)]


def _zero_padding2d(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    top, bottom, left, right = borders(options, "padding")
    # padded as [N, C, H, W] in channels-last memory, which torch keeps
    return [
        Function(lambda x: F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom)).permute(0, 2, 3, 1), fresh=True)
    ]


def _cropping2d(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    top, bottom, left, right = borders(options, "cropping")
    height, width = shapes[0][1:3]
    return [Function(lambda x: x[:, top : height - bottom, left : width - right])]


def _resizing(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    options.require("data_format", "channels_last")
    options.require("interpolation", "bilinear")
    options.require("fill_mode", "constant")
    options("fill_value")
    size, antialias = (int(options("height")), int(options("width"))), bool(options("antialias", False))
    if math.prod(size) * shapes[0][-1] > MOST_VALUES:
        raise Untranslatable(f"{options.name}: resizes to {size}")

    def resize(x: Tensor) -> Tensor:
        return F.interpolate(x.permute(0, 3, 1, 2), size, mode="bilinear", antialias=antialias).permute(0, 2, 3, 1)

    return [Function(resize)]


def _flatten(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    options.require("data_format", "channels_last")
    return [Function(lambda x: x.reshape(len(x), -1))]


def _reshape(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    target = tuple(options("target_shape"))
    return [Function(lambda x: x.reshape(len(x), *target))]


def _permute(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    order = tuple(options("dims"))
    return [Function(lambda x: x.permute(0, *order))]


def _add(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    if len(set(shapes)) == 1:
        return [Sum()]
    return _merge(options, variables, shapes, function=torch.add)


def _merge(
    options: Options, variables: Variables, shapes: Shapes, *, function: Callable[[Tensor, Tensor], Tensor]
) -> list[Operation]:
    if len({len(shape) for shape in shapes}) != 1:
        raise Untranslatable(f"{options.name}: merges arrays of different rank")
    return [Function(lambda *values: reduce(function, values), fresh=True)]


def _average(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    return [*_add(options, variables, shapes), Function(lambda x: x / len(shapes), fresh=True)]


def _concatenate(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    axis = axis_of(options, options("axis", -1), shapes)
    return [Function(lambda *values: torch.cat(values, dim=axis), fresh=True)]


def _layer_scale(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    options("init_values")
    (gamma,) = checked(options, variables, (options("projection_dim"),))
    return [Affine(gamma, torch.zeros_like(gamma))]


def _scaled_sum(options: Options, variables: Variables, shapes: Shapes) -> list[Operation]:
    scale = float(options("scale"))
    return [Function(lambda first, second: torch.add(first, second, alpha=scale), fresh=True)]


LAYERS: dict[str, Builder] = {
    "Activation": _activation_layer,
    "Add": _add,
    "Average": _average,
    "AveragePooling2D": partial(_pool, average=True),
    "BatchNormalization": _batch_normalization,
    "Concatenate": _concatenate,
    "Conv2D": _conv2d,
    "Cropping2D": _cropping2d,
    "CustomScaleLayer": _scaled_sum,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv2d,
    "ELU": _elu,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": partial(_global_pool, average=True),
    "GlobalMaxPooling2D": partial(_global_pool, average=False),
    "LayerNormalization": _layer_normalization,
    "LayerScale": _layer_scale,
    "LeakyReLU": _leaky_relu,
    "MaxPooling2D": partial(_pool, average=False),
    "Maximum": partial(_merge, function=torch.maximum),
    "Multiply": partial(_merge, function=torch.mul),
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Permute": _permute,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Resizing": _resizing,
    "SeparableConv2D": _separable_conv2d,
    "Softmax": _softmax,
    "Subtract": partial(_merge, function=torch.sub),
    "ZeroPadding2D": _zero_padding2d,
}
"""Keras' layers that are translated, besides nested Functional and Sequential models; all in float32, channels last."""

HOMES = {
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
    "LayerScale": "keras.src.applications.convnext",
}
"""The modules of layers that only ``keras.applications`` has."""

IDENTITIES = frozenset(
    {
        *("ActivityRegularization", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
    }
)
"""Layers that do something in training only."""
