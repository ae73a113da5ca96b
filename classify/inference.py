"""Running a trained classifier: translated to torch where that is possible, by Keras itself where it is not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from .keras_file import KerasFile, Untranslatable
from .torch_network import translate

if TYPE_CHECKING:
    from .backend import keras

_log = logging.getLogger(__name__)


class Network(Protocol):
    """What runs a classifier.

    Attributes:
        engine: ``torch`` (see :mod:`fergan.classify.torch_network`) or ``keras``.
        input_shape, output_shape: of one input and one output, without the batch.
    """

    engine: str

    @property
    def input_shape(self) -> tuple[int | None, ...]: ...

    @property
    def output_shape(self) -> tuple[int | None, ...]: ...

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> [N, *output_shape]."""

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> what enters the last layer that has a kernel."""


def open_network(path: Path, content: bytes, device: str) -> Network:
    """Make the network of a ``.keras`` file ready to run; Keras is imported only if the file asks for it.

    Nothing in the file is executed: Keras' safe mode stays on.

    Args:
        path: of the file.
        content: of the file.
        device: ``cpu`` or ``cuda``.

    Raises:
        Exception: of almost any type, from Keras, where the file is damaged.
    """
    try:
        with KerasFile(content) as file:
            return translate(file, device)
    except Untranslatable as reason:
        _log.info("%s: left to Keras: %s", path, reason)
    return _KerasNetwork(path, device)


class _KerasNetwork:
    """A network that Keras runs, on torch."""

    engine = "keras"

    def __init__(self, path: Path, device: str) -> None:
        from .backend import keras

        self._keras, self._device = keras, device
        with keras.device(device):
            self._model = keras.saving.load_model(path, compile=False)
        self.input_shape = tuple(self._model.input_shape[1:])
        self.output_shape = tuple(self._model.output_shape[1:])
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


def _has_kernel(operation: Any) -> bool:
    return any("kernel" in variable.path for variable in getattr(operation, "weights", ()))
