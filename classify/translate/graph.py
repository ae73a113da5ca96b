"""A Keras network as a list of torch operations: the same results several times faster, and without importing Keras.

:func:`translate` covers what image classifiers are made of: :data:`LAYERS` and :data:`IDENTITIES`. A layer or an option
that is not known here raises :class:`Untranslatable`, never a guess; such a model is then left to Keras.

Values keep Keras' order of axes, [N, H, W, C]. torch calls that memory layout channels-last, and its convolutions work
on it without copying. Batch normalisation is folded into the convolution before it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import torch
from torch.nn import functional as F

from ..files.keras3 import KerasFile, Untranslatable, is_model, layer_paths
from ..files.keras_h5 import LegacyFile

Tensor = torch.Tensor

_MOST_VALUES = 2**24
"""Largest input, padded or resized picture that is tried, in numbers for each face."""


class TorchNetwork:
    """A translated network, ready to run.

    Attributes:
        input_shape: of one input, without the batch, for example (48, 48, 1).
        output_shape: of one output, for example (7,).
        input_name: of the input layer, for example ``pixels``.
        output_name: of the layer that the output comes from.
    """

    engine = "torch"
    batch: int | None = None

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        names: tuple[str, str],
        steps: list[_Step],
        output: int,
        head: int,
    ) -> None:
        self.input_shape, self.output_shape = input_shape, output_shape
        self.input_name, self.output_name = names
        self._whole = _schedule(steps, output)
        self._to_head = _schedule(steps, head)

    def outputs(self, inputs: Tensor) -> Tensor:
        """float32 [N, *input_shape] -> [N, *output_shape]."""
        return _run(self._whole, inputs)

    def head_inputs(self, inputs: Tensor) -> Tensor:
        """float32 [N, *input_shape] -> what enters the last layer that has a kernel."""
        return _run(self._to_head, inputs)


def translate(file: KerasFile | LegacyFile, device: str) -> TorchNetwork:
    """Build a network from a Keras file.

    Args:
        file: holds a Functional or Sequential model of one input and one output.
        device: where its weights go.

    Raises:
        Untranslatable: something in it has no counterpart here, or contradicts itself.
    """
    try:
        with torch.inference_mode(), torch.device(device):
            return _Translation(file, device).network()
    except Untranslatable:
        raise
    except Exception as error:  # on damaged configurations and shapes that do not fit, almost any type
        raise Untranslatable(f"is inconsistent ({type(error).__name__}: {error})") from error


# ---------------------------------------------------------------------------------------------------------------------
# Operations. Those that are classes are looked at when the network is simplified.


@dataclass(frozen=True)
class _Convolution:
    """[N, H, W, C] -> [N, H', W', C']; ``weight`` [C', C / groups, h, w]."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    same: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        x, padding = x.permute(0, 3, 1, 2), (0, 0)
        if self.same:
            height, width = self.weight.shape[2:]
            x, padding = _pad_same(x, (height, width), self.stride, self.dilation, 0.0)
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return y.permute(0, 2, 3, 1)


class _Dense(_Convolution):
    """[..., C] -> [..., C'], as a 1x1 convolution: unlike a matrix product's, the last bits of its results do not
    depend on where in the batch a face stands.
    """

    def __call__(self, x: Tensor) -> Tensor:
        y = super().__call__(x.reshape(-1, 1, 1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True)
class _Affine:
    """``x * scale + shift``, both [C] or scalars."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


@dataclass(frozen=True)
class _Activation:
    function: Callable[[Tensor, bool], Tensor]
    inplace: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x, self.inplace)


@dataclass(frozen=True)
class _Sum:
    inplace: bool = False

    def __call__(self, first: Tensor, *others: Tensor) -> Tensor:
        total = first.add_(others[0]) if self.inplace else first + others[0]
        for other in others[1:]:
            total.add_(other)
        return total


@dataclass(frozen=True)
class _Function:
    """Anything else. ``fresh``: its result shares no memory with its input."""

    function: Callable[..., Tensor]
    fresh: bool = False

    def __call__(self, *values: Tensor) -> Tensor:
        return self.function(*values)


_Operation = _Convolution | _Affine | _Activation | _Sum | _Function


@dataclass(frozen=True)
class _Step:
    operation: _Operation
    inputs: tuple[int, ...]
    output: int


def _run(schedule: tuple[list[tuple[_Step, tuple[int, ...]]], int], inputs: Tensor) -> Tensor:
    steps, output = schedule
    values = {0: inputs}
    for step, released in steps:
        values[step.output] = step.operation(*[values[i] for i in step.inputs])
        for i in released:
            del values[i]
    return values[output]


def _schedule(steps: Sequence[_Step], output: int) -> tuple[list[tuple[_Step, tuple[int, ...]]], int]:
    """The steps that lead to a value, each with the values that are not needed after it."""
    needed, wanted = {output}, []
    for step in reversed(steps):
        if step.output in needed:
            released = tuple(set(step.inputs) - needed)
            needed.update(step.inputs)
            wanted.append((step, released))
    return wanted[::-1], output


def _simplified(steps: Sequence[_Step], kept: Sequence[int]) -> list[_Step]:
    """The same network with fewer passes over memory: affine maps folded into convolutions, work done in place."""
    uses = Counter(i for step in steps for i in step.inputs) + Counter(kept)
    made: dict[int, _Step] = {}  # by output, in order
    for step in steps:
        operation = step.operation
        mine = [i for i in step.inputs if i in made and uses[i] == 1]  # values that nothing else needs
        if isinstance(operation, _Affine) and mine:
            before = made[mine[0]]
            folded = _folded(before.operation, operation)
            if folded is not None:
                del made[before.output]
                made[step.output] = _Step(folded, before.inputs, step.output)
                continue
        if isinstance(operation, _Activation | _Sum):
            free = [i for i in mine if _is_fresh(made[i].operation)]
            if free:
                inputs = (free[0], *(i for i in step.inputs if i != free[0]))
                step = _Step(replace(operation, inplace=True), inputs, step.output)
        made[step.output] = step
    return list(made.values())


def _is_fresh(operation: _Operation) -> bool:
    """Whether its result is in memory of its own."""
    if isinstance(operation, _Function):
        return operation.fresh
    return not getattr(operation, "inplace", False)


def _folded(operation: _Operation, affine: _Affine) -> _Convolution | None:
    if not isinstance(operation, _Convolution) or affine.scale.shape != operation.weight.shape[:1]:
        return None
    scale = affine.scale.double()
    weight = operation.weight.double() * scale[:, None, None, None]
    bias = affine.shift.double() + (0 if operation.bias is None else operation.bias.double() * scale)
    return replace(operation, weight=_channels_last(weight.float()), bias=bias.float())


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------------------------------------------------------------
# The graph


class _Translation:
    """Walks through a model's configuration, builds each layer and tries it on an empty picture to learn shapes."""

    def __init__(self, file: KerasFile | LegacyFile, device: str) -> None:
        self.file, self.device = file, device
        self.steps: list[_Step] = []
        self.values: list[Tensor] = []  # of the empty picture, by number
        self.head: int | None = None

    def network(self) -> TorchNetwork:
        model = self.file.config
        shape, name = _input(model)
        self.values.append(torch.zeros(1, *shape))
        output = self._model(model, "", 0)
        if self.head is None:
            raise Untranslatable("has no layer with a kernel")
        steps = _simplified(self.steps, (output, self.head))
        names = name, _last_layer(model)
        return TorchNetwork(shape, tuple(self.values[output].shape[1:]), names, steps, output, self.head)

    def _model(self, model: Mapping[str, Any], path: str, value: int) -> int:
        """Append a model's layers; the number of its output."""
        config = model["config"]
        paths = layer_paths(config["layers"], path)
        if model["class_name"] == "Sequential":
            for layer in config["layers"]:
                if layer["class_name"] != "InputLayer":
                    value = self._layer(layer, paths[layer["config"]["name"]], [value])
            return value
        done = {(_one(config["input_layers"]), 0): value}
        calls = [(layer, number) for layer in config["layers"] for number in range(len(layer["inbound_nodes"]))]
        while calls:  # layers that are used more than once may stand before what they are used on
            waiting = []
            for layer, number in calls:
                called, node = _as_layer(layer, layer["inbound_nodes"][number])
                sources = _sources(node)
                if all(source in done for source in sources):
                    name = layer["config"]["name"]
                    done[name, number] = self._layer(called, paths[name], [done[source] for source in sources])
                else:
                    waiting.append((layer, number))
            if len(waiting) == len(calls):
                raise Untranslatable(f"{config['name']}: has a layer that nothing leads to, or a second input")
            calls = waiting
        return done[_one(config["output_layers"], with_node=True)]

    def _layer(self, layer: Mapping[str, Any], path: str, inputs: list[int]) -> int:
        """Append a layer's operations; the number of its output."""
        kind, config = layer["class_name"], layer["config"]
        if is_model(layer):
            if len(inputs) != 1:
                raise Untranslatable(f"{config['name']}: is a model of several inputs")
            return self._model(layer, f"{path}/", inputs[0])
        module, registered = layer.get("module"), layer.get("registered_name")
        if (module, registered) != ("keras.layers", None) and (module, registered) != (_HOMES.get(kind), kind):
            raise Untranslatable(f"{config['name']}: {kind} is no layer of Keras")
        if not _is_float32(config.get("dtype")):
            raise Untranslatable(f"{config['name']}: computes in {config['dtype']}")
        if kind in IDENTITIES:
            return inputs[0]
        if kind not in LAYERS:
            raise Untranslatable(f"{config['name']}: there is no translation of {kind}")
        options = _Options(config)
        variables = [torch.from_numpy(array).to(self.device) for array in self.file.variables(path, config["name"])]
        shapes = [tuple(self.values[i].shape) for i in inputs]
        operations = LAYERS[kind](options, variables, shapes)
        options.finish()
        if any(isinstance(operation, _Convolution) for operation in operations):
            self.head = inputs[0]
        for operation in operations:
            self.values.append(operation(*[self.values[i] for i in inputs]))
            self.steps.append(_Step(operation, tuple(inputs), len(self.values) - 1))
            inputs = [len(self.values) - 1]
        return inputs[0]


def _input(model: Mapping[str, Any]) -> tuple[tuple[int, ...], str]:
    """The shape of one input, and the name of the layer that takes it."""
    if not is_model(model):
        raise Untranslatable(f"{model['class_name']} is neither a Functional nor a Sequential model")
    config = model["config"]
    first = config["layers"][0]
    if model["class_name"] == "Functional":
        name = _one(config["input_layers"])
        first = next(layer for layer in config["layers"] if layer["config"]["name"] == name)
    elif is_model(first):
        return _input(first)
    shape = first["config"].get("batch_shape") or config.get("build_input_shape")
    if not shape or first["config"].get("sparse") or not _is_float32(first["config"].get("dtype")):
        raise Untranslatable("its input is not float32 of a known shape")
    batch, *one = shape
    if batch is not None or not all(isinstance(n, int) and n > 0 for n in one) or math.prod(one) > _MOST_VALUES:
        raise Untranslatable(f"its input has the shape {shape}")
    return tuple(one), str(first["config"]["name"])


def _last_layer(model: Mapping[str, Any]) -> str:
    config = model["config"]
    if model["class_name"] == "Sequential":
        return str(config["layers"][-1]["config"]["name"])
    return str(_one(config["output_layers"], with_node=True)[0])


def _one(layers: Any, with_node: bool = False) -> Any:
    """The only input or output of a model, [name, node, tensor] or a list of one such."""
    if len(layers) == 1:
        (layers,) = layers
    if isinstance(layers, dict) or len(layers) != 3 or not isinstance(layers[0], str) or layers[2] != 0:
        raise Untranslatable("has several inputs or outputs")
    return (layers[0], layers[1]) if with_node else layers[0]


def _as_layer(layer: Mapping[str, Any], node: Any) -> tuple[Mapping[str, Any], Any]:
    """``x + 3`` and ``x * y`` in a network, which Keras records as operations, as the layers that do the same."""
    kind, module = layer["class_name"], layer.get("module")
    if kind not in ("Add", "Multiply", "Subtract") or not isinstance(node, dict) or len(node["args"]) != 2:
        return layer, node
    if module not in ("keras.layers", "keras.src.ops.numpy"):  # older files do not tell operations from layers
        return layer, node
    first, second = node["args"]
    arguments: Any = [first, second]
    config = {"name": layer["config"]["name"], "dtype": "float32"}
    if isinstance(first, dict) and isinstance(second, int | float):
        scale, offset = {"Add": (1.0, second), "Multiply": (second, 0.0), "Subtract": (1.0, -second)}[kind]
        kind, config, arguments = "Rescaling", {**config, "scale": scale, "offset": offset}, first
    return {"module": "keras.layers", "class_name": kind, "config": config}, {**node, "args": [arguments]}


def _sources(node: Any) -> list[tuple[str, int]]:
    """What a layer is called on: (layer, node) of each tensor."""
    # 'training' is not looked at: whatever a call recorded, a trained classifier is run with training=False
    others = {k: v for k, v in node["kwargs"].items() if k != "training"} if isinstance(node, dict) else None
    if others is None or len(node["args"]) != 1 or any(value not in (None, False) for value in others.values()):
        raise Untranslatable("calls a layer with more than its inputs")
    given = node["args"][0]
    sources = []
    for tensor in given if isinstance(given, list) else [given]:
        name, number, position = tensor["config"]["keras_history"]
        if tensor["class_name"] != "__keras_tensor__" or position != 0:
            raise Untranslatable(f"uses a second output of {name}")
        sources.append((name, number))
    return sources


def _is_float32(dtype: Any) -> bool:
    if isinstance(dtype, dict):
        dtype = dtype["config"]["name"] if dtype["class_name"] == "DTypePolicy" else None
    return bool(dtype == "float32")


# ---------------------------------------------------------------------------------------------------------------------
# The layers

_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")


class _Options:
    """A layer's configuration. What no translation has looked at must be unset, or the layer is not understood."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.name = config["name"]
        known = ("name", "trainable", "dtype", "momentum", "renorm_momentum", "synchronized")
        self._left = {k: v for k, v in config.items() if k not in known and not k.endswith(_OF_TRAINING)}

    def __call__(self, key: str, default: Any = None) -> Any:
        return self._left.pop(key, default)

    def require(self, key: str, *allowed: Any) -> Any:
        value = self._left.pop(key, allowed[0])
        if value not in allowed:
            raise Untranslatable(f"{self.name}: {key} is {value!r}")
        return value

    def pair(self, key: str, default: Any = None) -> tuple[int, int]:
        value = self._left.pop(key, None)
        value = default if value is None else value
        first, second = (value, value) if isinstance(value, int) else value
        return int(first), int(second)

    def finish(self) -> None:
        unknown = {k: v for k, v in self._left.items() if v is not None and v is not False}
        if unknown:
            raise Untranslatable(f"{self.name}: has the options {unknown}")


_Variables = Sequence[Tensor]
_Shapes = Sequence[tuple[int, ...]]
_Builder = Callable[[_Options, _Variables, _Shapes], Sequence[_Operation]]


def _check(options: _Options, variables: _Variables, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The variables as float32, of exactly these shapes."""
    if [tuple(variable.shape) for variable in variables] != list(shapes):
        found = ", ".join(str(list(variable.shape)) for variable in variables) or "none"
        raise Untranslatable(f"{options.name}: should have weights of {[list(s) for s in shapes]}, has {found}")
    return [variable.float() for variable in variables]


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


def _activation(options: _Options) -> list[_Operation]:
    name = options("activation", "linear")
    if name in (None, "linear"):
        return []
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise Untranslatable(f"{options.name}: there is no translation of the activation {name!r}")
    return [_Activation(_ACTIVATIONS[name])]


def _activation_layer(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    return _activation(options)


def _relu(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    options.require("threshold", 0)
    slope, most = options("negative_slope", 0), options("max_value")
    if most is None:
        return (
            [_Activation(lambda x, inplace: F.leaky_relu(x, slope, inplace))]
            if slope
            else [_Activation(_ACTIVATIONS["relu"])]
        )
    if slope:
        raise Untranslatable(f"{options.name}: is a leaky ReLU with a greatest value")
    return [_Activation(lambda x, inplace: F.hardtanh(x, 0.0, most, inplace))]


def _leaky_relu(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    slope = float(options("negative_slope"))
    return [_Activation(lambda x, inplace: F.leaky_relu(x, slope, inplace))]


def _elu(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    alpha = float(options("alpha", 1.0))
    return [_Activation(lambda x, inplace: F.elu(x, alpha, inplace))]


def _prelu(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    shared = options("shared_axes") or ()
    shape = tuple(1 if axis in shared else n for axis, n in enumerate(shapes[0][1:], start=1))
    (alpha,) = _check(options, variables, shape)
    return [_Function(lambda x: torch.where(x > 0, x, alpha * x), fresh=True)]


def _softmax(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    axis = options("axis", -1)
    (axis,) = axis if isinstance(axis, list) else [axis]
    return [_Function(partial(torch.softmax, dim=_axis(options, axis, shapes)), fresh=True)]


def _axis(options: _Options, axis: int, shapes: _Shapes) -> int:
    """An axis counted from the front; never that of the batch."""
    rank = len(shapes[0])
    if not -rank <= axis < rank or axis % rank == 0:
        raise Untranslatable(f"{options.name}: works along axis {axis} of {list(shapes[0])}")
    return axis % rank


def _channels(options: _Options, axis: Any, shapes: _Shapes) -> int:
    """How many there are, for layers that must work along them."""
    (axis,) = axis if isinstance(axis, list) else [axis]
    if _axis(options, axis, shapes) != len(shapes[0]) - 1:
        raise Untranslatable(f"{options.name}: works along axis {axis} of {list(shapes[0])}")
    return shapes[0][-1]


def _conv2d(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    size, groups, filters = options.pair("kernel_size"), options("groups", 1), options("filters")
    kernel = (*size, shapes[0][-1] // groups, filters)
    weight, *bias = _check(options, variables, kernel, *([(filters,)] if options("use_bias") else []))
    return [_convolution(options, weight.permute(3, 2, 0, 1), bias, groups=groups), *_activation(options)]


def _convolution(options: _Options, weight: Tensor, bias: list[Tensor], groups: int = 1) -> _Convolution:
    options.require("data_format", "channels_last")
    return _Convolution(
        _channels_last(weight),
        bias[0] if bias else None,
        options.pair("strides", 1),
        options.pair("dilation_rate", 1),
        groups,
        options.require("padding", "valid", "same") == "same",
    )


def _depthwise_conv2d(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    channels, times = shapes[0][-1], options("depth_multiplier", 1)
    kernel = (*options.pair("kernel_size"), channels, times)
    weight, *bias = _check(options, variables, kernel, *([(channels * times,)] if options("use_bias") else []))
    return [_convolution(options, _depthwise(weight), bias, groups=channels), *_activation(options)]


def _depthwise(kernel: Tensor) -> Tensor:
    """[h, w, C, M] -> [C * M, 1, h, w]."""
    return kernel.permute(2, 3, 0, 1).flatten(0, 1)[:, None]


def _separable_conv2d(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    channels, times, filters = shapes[0][-1], options("depth_multiplier", 1), options("filters")
    options.require("groups", 1)
    wanted = [(*options.pair("kernel_size"), channels, times), (1, 1, channels * times, filters)]
    depth, point, *bias = _check(options, variables, *wanted, *([(filters,)] if options("use_bias") else []))
    return [
        _convolution(options, _depthwise(depth), [], groups=channels),
        _Convolution(_channels_last(point.permute(3, 2, 0, 1)), bias[0] if bias else None),
        *_activation(options),
    ]


def _dense(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    units = options("units")
    weight, *bias = _check(options, variables, (shapes[0][-1], units), *([(units,)] if options("use_bias") else []))
    return [_Dense(weight.T[:, :, None, None].contiguous(), bias[0] if bias else None), *_activation(options)]


def _batch_normalization(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    channels, epsilon = _channels(options, options("axis", -1), shapes), options("epsilon")
    scaled, centred = options("scale"), options("center")
    found = _check(options, variables, *[(channels,)] * (2 + bool(scaled) + bool(centred)))
    gamma = found.pop(0).double() if scaled else 1.0
    beta = found.pop(0).double() if centred else 0.0
    mean, variance = (variable.double() for variable in found)
    factor = gamma / (variance + epsilon).sqrt()
    return [_Affine(factor.float(), (beta - mean * factor).float())]


def _layer_normalization(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    axes, epsilon = options("axis"), options("epsilon")
    rank = len(shapes[0])
    axes = sorted(_axis(options, axis, shapes) for axis in (axes if isinstance(axes, list) else [axes]))
    if axes != list(range(rank - len(axes), rank)):
        raise Untranslatable(f"{options.name}: normalises along the axes {axes} of {rank}")
    over = shapes[0][rank - len(axes) :]
    scaled, centred = options("scale"), options("center")
    found = _check(options, variables, *[over] * (bool(scaled) + bool(centred)))
    gamma = found.pop(0) if scaled else None
    beta = found.pop(0) if centred else None
    return [_Function(lambda x: F.layer_norm(x, over, gamma, beta, epsilon), fresh=True)]


def _rescaling(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    scale, offset = _numbers(options, "scale", shapes), _numbers(options, "offset", shapes)
    return [_Affine(scale.float(), offset.float())]


def _normalization(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    mean, variance = _numbers(options, "mean", shapes), _numbers(options, "variance", shapes)
    axis = options("axis")
    shape = () if axis in (None, []) else (_channels(options, axis, shapes),)
    if variables:
        mean, variance, _ = _check(options, variables, shape, shape, ())
    elif mean.ndim > len(shape):
        raise Untranslatable(f"{options.name}: has a mean for each channel, but works along no axis")
    factor = 1 / variance.double().sqrt().clamp(min=1e-7)  # Keras' epsilon, so that flat channels do not divide by 0
    return [_Affine(factor.float(), (-mean.double() * factor).float())]


def _numbers(options: _Options, key: str, shapes: _Shapes) -> Tensor:
    """A number, or one for each channel; 0 if there is none."""
    value = options(key)
    numbers = torch.tensor(0.0 if value is None else value, dtype=torch.float64)
    if numbers.ndim and numbers.shape != (shapes[0][-1],):
        raise Untranslatable(f"{options.name}: {key} has the shape {list(numbers.shape)}")
    return numbers


def _pool(options: _Options, variables: _Variables, shapes: _Shapes, *, average: bool) -> list[_Operation]:
    options.require("data_format", "channels_last")
    size = options.pair("pool_size")
    strides, same = options.pair("strides", size), options.require("padding", "valid", "same") == "same"

    def pool(x: Tensor) -> Tensor:
        x, padding = x.permute(0, 3, 1, 2), (0, 0)
        if same:
            before = x.shape
            x, padding = _pad_same(x, size, strides, (1, 1), -math.inf)
            if average and x.shape != before:  # Keras' backends disagree on what the average counts at the border
                raise Untranslatable(f"{options.name}: averages over uneven padding")
        if average:
            return F.avg_pool2d(x, size, strides, padding, count_include_pad=False).permute(0, 2, 3, 1)
        return F.max_pool2d(x, size, strides, padding).permute(0, 2, 3, 1)

    return [_Function(pool, fresh=True)]


def _global_pool(options: _Options, variables: _Variables, shapes: _Shapes, *, average: bool) -> list[_Operation]:
    options.require("data_format", "channels_last")
    keep = bool(options("keepdims", False))
    if average:
        return [_Function(lambda x: x.mean(dim=(1, 2), keepdim=keep), fresh=True)]
    return [_Function(lambda x: x.amax(dim=(1, 2), keepdim=keep), fresh=True)]


def _pad_same(
    x: Tensor, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float
) -> tuple[Tensor, tuple[int, int]]:
    """TensorFlow's padding: the odd pixel goes below and right. [N, C, H, W] -> padded, and what is left to torch."""
    missing = []
    for n, k, s, d in zip(x.shape[2:], size, stride, dilation, strict=True):
        missing.append(max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0))
    height, width = missing
    if height % 2 == 0 and width % 2 == 0:
        return x, (height // 2, width // 2)
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    return F.pad(x, sides, value=value), (0, 0)


def _borders(options: _Options, key: str) -> tuple[int, int, int, int]:
    """top, bottom, left, right"""
    options.require("data_format", "channels_last")
    (top, bottom), (left, right) = options(key)
    if not 0 <= min(top, bottom, left, right) <= max(top, bottom, left, right) <= 64:
        raise Untranslatable(f"{options.name}: {key} is {top, bottom, left, right}")
    return top, bottom, left, right


def _zero_padding2d(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    top, bottom, left, right = _borders(options, "padding")
    # padded as [N, C, H, W] in channels-last memory, which torch keeps
    return [
        _Function(lambda x: F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom)).permute(0, 2, 3, 1), fresh=True)
    ]


def _cropping2d(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    top, bottom, left, right = _borders(options, "cropping")
    height, width = shapes[0][1:3]
    return [_Function(lambda x: x[:, top : height - bottom, left : width - right])]


def _resizing(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    options.require("data_format", "channels_last")
    options.require("interpolation", "bilinear")
    options.require("fill_mode", "constant")
    options("fill_value")
    size, antialias = (int(options("height")), int(options("width"))), bool(options("antialias", False))
    if math.prod(size) * shapes[0][-1] > _MOST_VALUES:
        raise Untranslatable(f"{options.name}: resizes to {size}")

    def resize(x: Tensor) -> Tensor:
        return F.interpolate(x.permute(0, 3, 1, 2), size, mode="bilinear", antialias=antialias).permute(0, 2, 3, 1)

    return [_Function(resize)]


def _flatten(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    options.require("data_format", "channels_last")
    return [_Function(lambda x: x.reshape(len(x), -1))]


def _reshape(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    target = tuple(options("target_shape"))
    return [_Function(lambda x: x.reshape(len(x), *target))]


def _permute(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    order = tuple(options("dims"))
    return [_Function(lambda x: x.permute(0, *order))]


def _add(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    if len(set(shapes)) == 1:
        return [_Sum()]
    return _merge(options, variables, shapes, function=torch.add)


def _merge(
    options: _Options, variables: _Variables, shapes: _Shapes, *, function: Callable[[Tensor, Tensor], Tensor]
) -> list[_Operation]:
    if len({len(shape) for shape in shapes}) != 1:
        raise Untranslatable(f"{options.name}: merges arrays of different rank")
    return [_Function(lambda *values: reduce(function, values), fresh=True)]


def _average(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    return [*_add(options, variables, shapes), _Function(lambda x: x / len(shapes), fresh=True)]


def _concatenate(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    axis = _axis(options, options("axis", -1), shapes)
    return [_Function(lambda *values: torch.cat(values, dim=axis), fresh=True)]


def _layer_scale(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    options("init_values")
    (gamma,) = _check(options, variables, (options("projection_dim"),))
    return [_Affine(gamma, torch.zeros_like(gamma))]


def _scaled_sum(options: _Options, variables: _Variables, shapes: _Shapes) -> list[_Operation]:
    scale = float(options("scale"))
    return [_Function(lambda first, second: torch.add(first, second, alpha=scale), fresh=True)]


LAYERS: dict[str, _Builder] = {
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

_HOMES = {
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
    "LayerScale": "keras.src.applications.convnext",
}
"""Where layers of ``keras.applications`` live that are no public ones."""

IDENTITIES = frozenset(
    {
        *("ActivityRegularization", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
    }
)
"""Layers that do something in training only."""
