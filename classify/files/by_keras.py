"""Keras files: translated to torch where that is possible, run by Keras itself where it is not.

What Keras gets has passed :mod:`~fergan.classify.keras_files.safety`, and its safe mode stays on.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...runtime.errors import DataError, UsageError, first_line
from ..keras_files.errors import Untranslatable
from ..keras_files.safety import Refused
from ..translate.graph import ModelFile, translate
from ..wanted import Wanted
from .bounded import Limits
from .network import Network, open_tried, try_first

if TYPE_CHECKING:
    from ..backend import keras

_MOST_VALUES = 2**27
"""Largest array between two layers, in numbers for each face."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KerasFormat:
    """A format of Keras' own files.

    Attributes:
        signature: the first bytes of such a file.
        ending: of its name, by which Keras tells the formats apart.
        open_file: opens the content for the translation.
        check: raises :class:`.Refused` on what Keras must not see; gets the content, and why Keras is asked.
    """

    signature: bytes
    ending: str
    open_file: Callable[[bytes], AbstractContextManager[ModelFile]]
    check: Callable[[bytes, str], None]

    def recognise(self, path: Path, content: bytes) -> bool:
        """Whether a file begins as such a file does, whatever its name."""
        return content.startswith(self.signature)

    def read(self, path: Path, content: bytes, device: str, wanted: Wanted) -> Network:
        """The network, ready to run; Keras is imported only if there is no translation.

        Raises:
            DataError: the file is damaged, asks for code, or for far more memory or time than its size gives reason
                for.
        """
        limits = Limits(len(content))

        def translated(device: str) -> Network:
            with self.open_file(content) as file:
                return translate(file, device, wanted)

        try:
            return open_tried(path, limits, translated, device)
        except Untranslatable as reason:
            _log.info("%s: left to Keras: %s", path, reason)
            why = str(reason)
        except Refused as error:
            raise DataError(f"{path}: cannot be used: {error}") from error
        with self._checked_copy(path, content, why, limits) as copy:

            def loaded(device: str) -> Network:
                try:
                    return _KerasNetwork(_load(copy, content, device), device, wanted)
                except DataError as error:
                    raise DataError(f"{path}: {error}") from error

            return open_tried(path, limits, loaded, device)

    def load(self, path: Path, content: bytes, device: str) -> keras.Model:
        """Let Keras itself open a file that asks for no code, after a try in a child process.

        Raises:
            DataError: as :meth:`read`.
        """
        limits = Limits(len(content))
        with self._checked_copy(path, content, "", limits) as copy:
            try_first(path, limits, lambda: _load(copy, content, "cpu"))
            return _load(copy, content, device)

    @contextmanager
    def _checked_copy(self, path: Path, content: bytes, why: str, limits: Limits) -> Iterator[Path]:
        """A copy of a file that asks for no code: what has been checked is what is loaded."""
        from ..backend import keras  # noqa: F401  before a child needs it, whose import would be lost

        try:
            try_first(path, limits, lambda: self.check(content, why))
            self.check(content, why)
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / f"model{self.ending}"
                copy.write_bytes(content)
                yield copy
        except (Refused, Untranslatable) as error:
            raise DataError(f"{path}: cannot be used: {error}") from error
        except (DataError, UsageError):
            raise
        except Exception as error:  # on damaged files Keras raises almost any type
            reason = first_line(error)
            raise DataError(f"{path}: is not a model that can be opened safely ({reason})") from error


def _load(copy: Path, content: bytes, device: str) -> keras.Model:
    """The model; one output that is alone in a list or a dict comes out of it."""
    from ..backend import keras

    with keras.device("meta"):  # shapes without memory
        _check_size(keras.saving.load_model(copy, compile=False), len(content))
    with keras.device(device):
        model = keras.saving.load_model(copy, compile=False)
        if isinstance(model.output, list | dict) and len(model.outputs) == 1:
            return keras.Model(model.inputs, model.outputs[0], name=model.name)
        return model


class _KerasNetwork:
    """A network that Keras runs, on torch."""

    engine = "keras"
    batch: int | None = None
    whole = False

    def __init__(self, model: keras.Model, device: str, wanted: Wanted) -> None:
        from ..backend import keras

        self._keras, self._device = keras, device
        if len(model.inputs) != 1:
            raise DataError(f"has the inputs {[tensor.name for tensor in model.inputs]}; expected one")
        by_name = dict(zip(model.output_names, model.outputs, strict=True))
        chosen = wanted.choose({name: tuple(tensor.shape[1:]) for name, tensor in by_name.items()})
        self._model = model if len(by_name) == 1 else keras.Model(model.inputs, by_name[chosen])
        self.input_shape = wanted.sized(tuple(model.inputs[0].shape[1:]))
        self.output_shape = tuple(by_name[chosen].shape[1:])
        self.input_name = str(model.inputs[0].name)
        self.output_name = str(model.layers[-1].name) if len(by_name) == 1 else chosen
        self.arrays = tuple((str(weight.path), tuple(weight.shape)) for weight in model.weights)
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
