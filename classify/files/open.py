"""Running a trained classifier: translated to torch where that is possible, by Keras itself where it is not."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import h5py
import torch

from ...runtime.errors import DataError, UsageError
from ..translate.graph import translate
from .bounded import try_in_child
from .errors import Untranslatable
from .keras3 import KerasFile
from .keras_h5 import SIGNATURE, KerasH5File, read_config, version_of
from .onnx import external_bytes, open_onnx
from .safety import Refused, check_archive, check_config, check_hdf5
from .wanted import Wanted

if TYPE_CHECKING:
    from ..backend import keras

_MOST_VALUES = 2**27
"""Largest array between two layers, in numbers for each face."""
_OURS = Path(__file__).parents[1] / "weights"
"""The folder of what comes with fergan."""
_LARGE = 2.0**20
"""Inputs up to which a network must say something finite; pixels are below 256."""

_log = logging.getLogger(__name__)


class Network(Protocol):
    """What runs a classifier.

    Attributes:
        engine: ``torch`` (see :mod:`fergan.classify.translate.graph`), ``onnxruntime`` or ``keras``.
        input_name, output_name: of the input layer and of the last one.
        input_shape, output_shape: of one input and one output, without the batch; channels last.
        batch: how many inputs the network takes at once, None where that is free.
        whole: whether the input is of whole numbers 0..255.
        arrays: (name, shape) of the stored weights.
    """

    engine: str
    input_name: str
    output_name: str
    batch: int | None
    whole: bool

    @property
    def arrays(self) -> tuple[tuple[str, tuple[int, ...]], ...]: ...

    @property
    def input_shape(self) -> tuple[int | None, ...]: ...

    @property
    def output_shape(self) -> tuple[int | None, ...]: ...

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> [N, *output_shape]."""

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> what enters the last layer that has a kernel."""


def open_network(path: Path, content: bytes, device: str, wanted: Wanted | None = None) -> Network:
    """Make the network of a model file ready to run; Keras is imported only if the file asks for it.

    Nothing in the file is executed: what Keras gets has passed :mod:`.safety`, and its safe mode stays on. What does
    not come with fergan is opened and tried in a child process first, within limits (see :mod:`.bounded`).

    Args:
        path: of the file; its ending does not matter.
        content: of the file.
        device: ``cpu`` or ``cuda``.
        wanted: what the file leaves open.

    Raises:
        DataError: the file is damaged, asks for code, for far more memory or time than its size gives reason for, or
            what it needs is not installed; or the network's outputs are no numbers.
    """
    reader, wanted = _reader(path, content), wanted or Wanted()
    if reader is None:
        size = len(content) + external_bytes(path, content)
        _try_first(path, size, lambda: _tried(path, open_onnx(path, content, "cpu", wanted)))
        return Guarded(path, open_onnx(path, content, device, wanted))

    def translated(device: str) -> Network:
        with reader(content) as file:
            return translate(file, device, wanted)

    try:
        _try_first(path, len(content), lambda: _tried(path, translated("cpu")))
        return Guarded(path, translated(device))
    except Untranslatable as reason:
        _log.info("%s: left to Keras: %s", path, reason)
        why = str(reason)
    with _checked_copy(path, content, why) as copy:

        def loaded(device: str) -> Network:
            return _KerasNetwork(_load(copy, content, device), device, wanted)

        _try_first(path, len(content), lambda: _tried(path, loaded("cpu")), 10)
        return Guarded(path, loaded(device))


def _reader(path: Path, content: bytes) -> type[KerasFile | KerasH5File] | None:
    """What reads a file of Keras, by its first bytes; None for ONNX, which has no signature."""
    if content.startswith(b"PK"):
        return KerasFile
    if content.startswith(SIGNATURE):
        return KerasH5File
    if path.suffix == ".onnx":
        return None
    raise DataError(f"{path}: is neither a .keras, .h5 nor .onnx file, or its beginning is damaged")


def open_keras_model(path: Path, content: bytes, device: str = "cpu", why: str = "") -> keras.Model:
    """Let Keras itself open a model file that asks for no code; within limits, as :func:`open_network` does.

    Args:
        path: of the file, for errors.
        content: of a ``.keras``, ``.h5`` or ``.hdf5`` file.
        device: ``cpu`` or ``cuda``.
        why: what has no translation, for errors.

    Raises:
        DataError: the file is damaged, asks for code or for other files, claims sizes that it cannot have, or is of
            Keras 1.
    """
    with _checked_copy(path, content, why) as copy:
        _try_first(path, len(content), lambda: _load(copy, content, "cpu"), 10)
        return _load(copy, content, device)


@contextmanager
def _checked_copy(path: Path, content: bytes, why: str) -> Iterator[Path]:
    """A copy of a file that asks for no code: what has been checked is what is loaded."""
    legacy = content.startswith(SIGNATURE)
    from ..backend import keras  # noqa: F401  before a child needs it, whose import would be lost

    def check() -> None:
        if legacy:
            _check_legacy(content, why)
        else:
            check_archive(content)

    try:
        _try_first(path, len(content), check)
        check()
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / ("model.h5" if legacy else "model.keras")
            copy.write_bytes(content)
            yield copy
    except (Refused, Untranslatable) as error:
        raise DataError(f"{path}: cannot be used: {error}") from error
    except (DataError, UsageError):
        raise
    except Exception as error:  # on damaged files Keras raises almost any type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path}: is no model that can be opened safely ({reason})") from error


def _load(copy: Path, content: bytes, device: str) -> keras.Model:
    from ..backend import keras

    with keras.device("meta"):  # shapes without memory
        _check_size(keras.saving.load_model(copy, compile=False), len(content))
    with keras.device(device):
        return keras.saving.load_model(copy, compile=False)


def _try_first(path: Path, size: int, action: Callable[[], object], seconds: int = 6) -> None:
    """In a child process, unless the file came with fergan, like the code that reads it."""
    if path.parent != _OURS:
        try_in_child(
            path, size, action, {kind.__name__: kind for kind in (DataError, Refused, Untranslatable)}, seconds
        )


def _tried(path: Path, network: Network) -> None:
    """Run a network on black and on noise, once with a batch as large as it will see.

    Raises:
        DataError: it fails, or says something that is no number.
    """
    shape = tuple(int(n or 0) for n in network.input_shape)
    if len(shape) != 3 or not all(shape):
        return  # refused later, by name
    batch = network.batch or (16 if max(shape[:2]) <= 96 else 2)
    noise = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0))
    few = noise[: network.batch or 1]
    with torch.inference_mode():
        for inputs in (torch.zeros_like(few), few, 255 * noise):
            Guarded(path, network).outputs(inputs)


class Guarded:
    """A network whose failures on pictures are errors that name its file; otherwise the same (see :class:`Network`)."""

    def __init__(self, path: Path, network: Network) -> None:
        self._path, self._network = path, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_network"], name)

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        found = self._run(self._network.outputs, inputs)
        if not torch.isfinite(found).all() and (inputs.abs() <= _LARGE).all():  # a client's own NaN comes back as it is
            raise DataError(
                f"{self._path}: says NaN or infinity about ordinary pixels; its weights are damaged, or its training "
                "diverged: train or export it anew"
            )
        return found

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._run(self._network.head_inputs, inputs)

    def _run(self, function: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        try:
            found = function(inputs)
            if isinstance(found, torch.Tensor) and len(found) == len(inputs):
                return found
            reason = "its output is not one row for each picture"
        except DataError:
            raise
        except Exception as error:  # of Keras, torch or onnxruntime, on networks that contradict themselves
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{self._path}: its network fails on pictures ({reason}); export it anew")


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
