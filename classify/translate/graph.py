"""A Keras network as a list of torch operations: the same results several times faster, and without importing Keras.

:func:`translate` covers what image classifiers are made of: :data:`.layers.LAYERS` and
:data:`.layers.IDENTITIES`. A layer or an option that is not known here raises :class:`Untranslatable`, never a guess;
such a model is then left to Keras.

Values keep Keras' order of axes, [N, H, W, C]. torch calls that memory layout channels-last, and its convolutions work
on it without copying. Batch normalisation is folded into the convolution before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from ..keras_files.errors import Untranslatable
from ..keras_files.keras2 import is_model
from ..keras_files.keras3 import layer_paths
from ..keras_files.safety import check_calls
from ..wanted import Wanted
from .layers import HOMES, IDENTITIES, LAYERS, MOST_VALUES
from .operations import Convolution, Step, run, schedule, simplified
from .options import Options

Tensor = torch.Tensor


class ModelFile(Protocol):
    """An open file of a Keras model; see :class:`fergan.classify.keras_files.keras3.KerasFile`."""

    config: dict[str, Any]

    def variables(self, path: str, name: str) -> list[np.ndarray]: ...


class TorchNetwork:
    """A translated network, ready to run.

    Attributes:
        input_shape: of one input, without the batch, for example (48, 48, 1).
        output_shape: of one output, for example (7,).
        input_name: of the input layer, for example ``pixels``.
        output_name: of the layer that the output comes from.
        arrays: (layer, shape) of the stored weights.
    """

    engine = "torch"
    batch: int | None = None
    whole = False

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        names: tuple[str, str],
        steps: list[Step],
        output: int,
        head: int,
        arrays: tuple[tuple[str, tuple[int, ...]], ...] = (),
    ) -> None:
        self.input_shape, self.output_shape, self.arrays = input_shape, output_shape, arrays
        self.input_name, self.output_name = names
        self._whole = schedule(steps, output)
        self._to_head = schedule(steps, head)

    def outputs(self, inputs: Tensor) -> Tensor:
        """float32 [N, *input_shape] -> [N, *output_shape]."""
        return run(self._whole, inputs)

    def head_inputs(self, inputs: Tensor) -> Tensor:
        """float32 [N, *input_shape] -> what enters the last layer that has a kernel."""
        return run(self._to_head, inputs)


def translate(file: ModelFile, device: str, wanted: Wanted | None = None) -> TorchNetwork:
    """Build a network from a Keras file.

    Args:
        file: holds a Functional or Sequential model of one input and one output.
        device: where its weights go.
        wanted: the size of pictures, where the file leaves it open.

    Raises:
        Untranslatable: something in it has no counterpart here, or contradicts itself.
        Refused: it calls its layers far more often than any network.
    """
    check_calls(file.config)
    try:
        with torch.inference_mode(), torch.device(device):
            return _Translation(file, device).network(wanted or Wanted())
    except Untranslatable:
        raise
    except Exception as error:  # on damaged configurations and shapes that do not fit, almost any type
        raise Untranslatable(f"is inconsistent ({type(error).__name__}: {error})") from error


class _Translation:
    """Walks through a model's configuration, builds each layer and tries it on an empty picture to learn shapes."""

    def __init__(self, file: ModelFile, device: str) -> None:
        self.file, self.device = file, device
        self.steps: list[Step] = []
        self.values: list[Tensor] = []  # of the empty picture, by number
        self.head: int | None = None
        self.arrays: list[tuple[str, tuple[int, ...]]] = []

    def network(self, wanted: Wanted) -> TorchNetwork:
        model = self.file.config
        shape, name = _input(model, wanted)
        self.values.append(torch.zeros(1, *shape))
        output = self._model(model, "", 0)
        if self.head is None:
            raise Untranslatable("has no layer with a kernel")
        steps = simplified(self.steps, (output, self.head))
        names = name, _last_layer(model)
        found = tuple(self.values[output].shape[1:])
        return TorchNetwork(shape, found, names, steps, output, self.head, tuple(self.arrays))

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
        if (module, registered) != ("keras.layers", None) and (module, registered) != (HOMES.get(kind), kind):
            raise Untranslatable(f"{config['name']}: {kind} is not a layer of Keras")
        if not _is_float32(config.get("dtype")):
            raise Untranslatable(f"{config['name']}: computes in {config['dtype']}")
        if kind in IDENTITIES:
            return inputs[0]
        if kind not in LAYERS:
            raise Untranslatable(f"{config['name']}: there is no translation of {kind}")
        options = Options(config)
        variables = [torch.from_numpy(array).to(self.device) for array in self.file.variables(path, config["name"])]
        self.arrays += [(config["name"], tuple(variable.shape)) for variable in variables]
        shapes = [tuple(self.values[i].shape) for i in inputs]
        operations = LAYERS[kind](options, variables, shapes)
        options.finish()
        if any(isinstance(operation, Convolution) for operation in operations):
            self.head = inputs[0]
        for operation in operations:
            self.values.append(operation(*[self.values[i] for i in inputs]))
            self.steps.append(Step(operation, tuple(inputs), len(self.values) - 1))
            inputs = [len(self.values) - 1]
        return inputs[0]


def _input(model: Mapping[str, Any], wanted: Wanted) -> tuple[tuple[int, ...], str]:
    """The shape of one input, and the name of the layer that takes it."""
    if not is_model(model):
        raise Untranslatable(f"{model['class_name']} is neither a Functional nor a Sequential model")
    config = model["config"]
    first = config["layers"][0]
    if model["class_name"] == "Functional":
        name = _one(config["input_layers"])
        first = next(layer for layer in config["layers"] if layer["config"]["name"] == name)
    elif is_model(first):
        return _input(first, wanted)
    shape = first["config"].get("batch_shape") or config.get("build_input_shape")
    if not shape or first["config"].get("sparse") or not _is_float32(first["config"].get("dtype")):
        raise Untranslatable("its input is not float32 of a known shape")
    batch, *one = shape
    one = list(wanted.sized(tuple(one)))
    if batch is not None or not all(isinstance(n, int) and n > 0 for n in one) or math.prod(one) > MOST_VALUES:
        raise Untranslatable(f"its input has the shape {shape}")
    return tuple(one), str(first["config"]["name"])


def _last_layer(model: Mapping[str, Any]) -> str:
    config = model["config"]
    if model["class_name"] == "Sequential":
        return str(config["layers"][-1]["config"]["name"])
    return str(_one(config["output_layers"], with_node=True)[0])


def _one(layers: Any, with_node: bool = False) -> Any:
    """The only input or output of a model, [name, node, tensor] or a list or dict of one such."""
    if len(layers) == 1:
        (layers,) = layers.values() if isinstance(layers, dict) else layers
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
    """The tensors on which a layer is called: (layer, node) of each."""
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
