"""Running a trained classifier: translated to torch where that is possible, by Keras itself where it is not."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import h5py
import torch

from ...runtime.errors import DataError
from ..translate.graph import translate
from .errors import Untranslatable
from .keras3 import KerasFile
from .keras_h5 import SIGNATURE, KerasH5File, read_config, version_of
from .onnx import open_onnx
from .safety import Refused, check_archive, check_config, check_hdf5

if TYPE_CHECKING:
    from ..backend import keras

_MOST_VALUES = 2**27
"""Largest array between two layers, in numbers for each face."""

_log = logging.getLogger(__name__)


class Network(Protocol):
    """What runs a classifier.

    Attributes:
        engine: ``torch`` (see :mod:`fergan.classify.translate.graph`), ``onnxruntime`` or ``keras``.
        input_name, output_name: of the input layer and of the last one.
        input_shape, output_shape: of one input and one output, without the batch; channels last.
        batch: how many inputs the network takes at once, None where that is free.
    """

    engine: str
    input_name: str
    output_name: str
    batch: int | None

    @property
    def input_shape(self) -> tuple[int | None, ...]: ...

    @property
    def output_shape(self) -> tuple[int | None, ...]: ...

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> [N, *output_shape]."""

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> what enters the last layer that has a kernel."""


def open_network(path: Path, content: bytes, device: str) -> Network:
    """Make the network of a model file ready to run; Keras is imported only if the file asks for it.

    Nothing in the file is executed: what Keras gets has passed :mod:`.keras_safety`, and its safe mode stays on.

    Args:
        path: of the file; its ending does not matter.
        content: of the file.
        device: ``cpu`` or ``cuda``.

    Raises:
        DataError: the file asks for code, or what it needs is not installed.
        Exception: of almost any type, from Keras, where the file is damaged.
    """
    if content.startswith(b"PK"):
        reader: type[KerasFile | KerasH5File] = KerasFile
    elif content.startswith(SIGNATURE):
        reader = KerasH5File
    elif path.suffix == ".onnx":
        return open_onnx(path, content, device)
    else:
        raise DataError(f"{path}: is neither a .keras, .h5 nor .onnx file, or its beginning is damaged")
    try:
        with reader(content) as file:
            return translate(file, device)
    except Untranslatable as reason:
        _log.info("%s: left to Keras: %s", path, reason)
        why = str(reason)
    return _KerasNetwork(open_keras_model(path, content, device, why), device)


def open_keras_model(path: Path, content: bytes, device: str = "cpu", why: str = "") -> keras.Model:
    """Let Keras itself open a model file that asks for no code.

    Args:
        path: of the file, for errors.
        content: of a ``.keras``, ``.h5`` or ``.hdf5`` file.
        device: ``cpu`` or ``cuda``.
        why: what has no translation, for errors.

    Raises:
        DataError: the file asks for code or for other files, claims sizes that it cannot have, or is of Keras 1.
        Exception: of almost any type, from Keras, where the file is damaged.
    """
    legacy = content.startswith(SIGNATURE)
    try:
        if legacy:
            _check_legacy(content, why)
        else:
            check_archive(content)
        from ..backend import keras

        with tempfile.TemporaryDirectory() as folder:  # what has been checked is what is loaded
            copy = Path(folder) / ("model.h5" if legacy else "model.keras")
            copy.write_bytes(content)
            with keras.device("meta"):  # shapes without memory
                _check_size(keras.saving.load_model(copy, compile=False), len(content))
            with keras.device(device):
                return keras.saving.load_model(copy, compile=False)
    except (Refused, Untranslatable) as error:
        raise DataError(f"{path}: cannot be used: {error}") from error


def _check_legacy(content: bytes, why: str) -> None:
    check_hdf5(content)
    with h5py.File(io.BytesIO(content), "r") as file:
        config, version = read_config(file), version_of(file)
    check_config(config)
    if version < 2:
        raise Refused(f"it is of Keras 1, which Keras itself no longer reads{f' ({why})' if why else ''}")
    if version < 3 and "'hard_sigmoid'" in str(config):
        raise Refused("its hard_sigmoid is that of an older Keras, and Keras itself would take it for today's")


class _KerasNetwork:
    """A network that Keras runs, on torch."""

    engine = "keras"
    batch: int | None = None

    def __init__(self, model: keras.Model, device: str) -> None:
        from ..backend import keras

        self._keras, self._device, self._model = keras, device, model
        self.input_shape = tuple(self._model.input_shape[1:])
        self.output_shape = tuple(self._model.output_shape[1:])
        self.input_name = str(self._model.inputs[0].name)
        self.output_name = str(self._model.layers[-1].name)
        self._to_head: keras.Model | None = None

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._call(self._model, inputs)

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._to_head is None:
            self._to_head = self._up_to_head(self._model)
        return self._call(self._to_head, inputs)

    def _call(self, model: keras.Model, inputs: torch.Tensor) -> torch.Tensor:
        with self._keras.device(self._device):
            return model(inputs, training=False)

    def _up_to_head(self, model: keras.Model) -> keras.Model:
        """From a model's input to that of its last layer with a kernel, which may be in a nested model."""
        graph = getattr(model, "_functional", None) or model  # of a Sequential model, or the model itself
        nodes = [node for depth in sorted(graph._nodes_by_depth) for node in graph._nodes_by_depth[depth]]
        head = next(node for node in nodes if _has_kernel(node.operation))  # depth 0 is the output
        entering = head.input_tensors[0]
        if isinstance(head.operation, self._keras.Model):
            entering = self._up_to_head(head.operation)(entering)
        return self._keras.Model(graph.input, entering)


def _check_size(model: keras.Model, size: int) -> None:
    """Raise Refused where a network is far larger than the file that claims to hold it, or makes huge arrays."""
    if model.count_params() > size:  # at least a byte each
        raise Refused(f"it claims {model.count_params()} parameters and has {size} bytes")
    for layer in model._flatten_layers(include_self=False):
        for node in layer._inbound_nodes:
            for tensor in node.output_tensors:
                if math.prod(n or 1 for n in tensor.shape) > _MOST_VALUES:
                    raise Refused(f"its layer {layer.name!r} makes arrays of {list(tensor.shape)}")


def _has_kernel(operation: Any) -> bool:
    return any("kernel" in variable.path for variable in getattr(operation, "weights", ()))
