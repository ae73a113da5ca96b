"""ONNX classifiers, run by onnxruntime (``pip install 'fergan[onnx]'``).

An ONNX file is a graph of standard operators and arrays. Operators of other domains need libraries of machine code, and
arrays may stand in further files; both are looked at before onnxruntime gets to see anything.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...runtime.errors import DataError, first_line
from ..wanted import Wanted
from .bounded import Limits
from .network import Network, open_tried, try_first

_log = logging.getLogger(__name__)

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operators that come with onnxruntime; ``com.microsoft`` are those into which its optimizer fuses the others."""
_MOST_VALUES = 2**27
"""Largest array in a graph whose size can be told beforehand, in numbers."""
_MOST_SECONDS = 20.0
"""Time for a batch through a network with loops."""
_WITH_KERNEL = ("Conv", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul")
_TYPES = {1: np.float32, 10: np.float16, 2: np.uint8}
"""Types of inputs, by ONNX' numbers."""


def recognise(path: Path, content: bytes) -> bool:
    """Whether a file is called ``.onnx``; such files have no signature."""
    return path.suffix == ".onnx"


def read(path: Path, content: bytes, device: str, wanted: Wanted) -> Network:
    """Open an ONNX classifier, after a try in a child process.

    Args:
        path: of the file; arrays in further files must stand beside or below it.
        content: of the file.
        device: ``cpu`` or ``cuda``; where onnxruntime has no CUDA, the CPU is used.
        wanted: what the file leaves open.

    Raises:
        DataError: onnx or onnxruntime is missing, or the file is damaged, needs foreign operators or files, or is not
            a network of one picture, or has several outputs of which nothing says which is meant.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise DataError(f"{path}: ONNX files need onnx and onnxruntime; pip install 'fergan[onnx]'") from error
    del onnx, onnxruntime  # imported before a child needs them
    try_first(path, Limits(len(content)), lambda: _external_bytes(path, content))
    size = len(content) + _external_bytes(path, content)
    return open_tried(path, Limits(size), lambda device: _open(path, content, device, wanted), device)


def embedded(path: Path, content: bytes) -> tuple[Any, bytes]:
    """The model with the arrays in it that stand in further files, and a digest of those; empty where there are none.

    Raises:
        DataError: the file is damaged, or asks for foreign operators or files.
    """
    model = _parsed(path, content)
    _check_operators(path, model)
    return model, _embed(path, model)


def _parsed(path: Path, content: bytes) -> Any:
    import onnx

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no common base
        raise DataError(f"{path}: is not an ONNX file, or a damaged one ({error})") from error


def _open(path: Path, content: bytes, device: str, wanted: Wanted) -> OnnxNetwork:
    model, external = embedded(path, content)
    _check_sizes(path, model)
    try:
        return OnnxNetwork(model, device, wanted, external)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # onnxruntime's errors have no common base either
        raise DataError(f"{path}: onnxruntime cannot run it ({first_line(error)})") from error


def _card(model: Any) -> dict[str, Any]:
    """The card that ``fergan export`` writes into the metadata: in its words, or not at all."""
    card = {}
    for entry in model.metadata_props:
        if entry.key in ("labels", "input_range"):
            try:
                card[entry.key] = json.loads(entry.value)
            except (ValueError, RecursionError):
                continue
        elif (entry.key, entry.value) in (
            ("outputs", "probabilities"),
            ("outputs", "logits"),
            ("view", "48"),
            ("view", "own"),
        ):
            card[entry.key] = entry.value
    return card


class OnnxNetwork:
    """A network that onnxruntime runs; see :class:`fergan.classify.files.network.Network`.

    Attributes:
        card: what the file's metadata say of it.
        external: a digest of the arrays that stood in further files, empty where there were none.
    """

    engine = "onnxruntime"

    def __init__(self, model: Any, device: str, wanted: Wanted, external: bytes = b"") -> None:
        self._model, self._device, self.external = model, device, external
        self.card = _card(model)
        self._session = _session(model, device)
        self._may_not_end = any(node.op_type in ("Loop", "Scan") for graph in _graphs(model) for node in graph.node)
        graph = model.graph
        self.arrays = tuple((str(array.name), tuple(array.dims)) for array in graph.initializer)
        stored = {array.name for array in graph.initializer}  # older files list these as inputs too
        inputs = [value for value in graph.input if value.name not in stored]
        if len(inputs) != 1:
            raise DataError(f"has the inputs {[value.name for value in inputs]}; expected one")
        (value,) = inputs
        self.input_name = str(value.name)
        if value.type.tensor_type.elem_type not in _TYPES:
            raise DataError(f"its input {value.name} is not of type float or uint8")
        self._type = _TYPES[value.type.tensor_type.elem_type]
        self.whole = self._type is np.uint8
        sizes = [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]
        if len(sizes) != 4 or (sizes[1] not in (1, 3) and sizes[3] not in (1, 3)):
            shown = str(["?" if n is None else n for n in sizes]).replace("'", "")
            raise DataError(
                f"takes {shown}; expected [N, channels, height, width] or [N, height, width, channels] "
                "with 1 or 3 channels"
            )
        self.batch = sizes[0]
        self._channels_first = sizes[3] not in (1, 3)
        first, second, third = sizes[1:]
        shape = (second, third, first) if self._channels_first else (first, second, third)
        self.input_shape: tuple[int | None, ...] = wanted.sized(shape)
        self._to_head: tuple[Any, str] | None = None
        self.output_name, self.output_shape = self._expressions([str(value.name) for value in graph.output], wanted)

    def _expressions(self, names: list[str], wanted: Wanted) -> tuple[str, tuple[int | None, ...]]:
        """The output that holds the expressions, and its shape; the network is run on black to learn the shapes."""
        if None in self.input_shape:
            return names[0], (None,)  # of any size, which is refused by name later
        sizes = tuple(int(n or 0) for n in self.input_shape)
        with torch.inference_mode():
            found = self._run(self._session, names, torch.zeros(self.batch or 1, *sizes))
        shapes = {name: tuple(array.shape[1:]) for name, array in zip(names, found, strict=True)}
        chosen = wanted.choose(shapes)
        return chosen, shapes[chosen]

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> float32 [N, *output_shape]."""
        return self._run(self._session, [self.output_name], inputs)[0]

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> what enters the last operator with a kernel; pictures with channels last."""
        if self._to_head is None:
            self._to_head = self._up_to_head()
        session, name = self._to_head
        entering = self._run(session, [name], inputs)[0]
        return entering.permute(0, 2, 3, 1) if entering.ndim == 4 else entering

    def _run(self, session: Any, names: list[str], inputs: torch.Tensor) -> list[torch.Tensor]:
        import onnxruntime

        inputs = inputs.permute(0, 3, 1, 2) if self._channels_first else inputs
        inputs = inputs.round().clamp(0, 255) if self.whole else inputs
        fed = np.ascontiguousarray(inputs.cpu().numpy(), self._type)
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        timer = threading.Timer(_MOST_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        if self._may_not_end:  # how often it goes round may depend on the picture
            timer.start()
        try:
            found = session.run(names, {self.input_name: fed}, options)
        finally:
            timer.cancel()
        return [torch.from_numpy(np.asarray(array, np.float32)) for array in found]

    def _up_to_head(self) -> tuple[Any, str]:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        stored = {array.name for array in graph.initializer}
        stored |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
        heads = [node for node in graph.node if node.op_type in _WITH_KERNEL and node.input[1] in stored]
        if not heads:
            raise DataError("has no layer with a kernel, so that there are no features")
        name = str(heads[-1].input[0])  # nodes stand in the order of their use
        del graph.output[:]
        graph.output.append(onnx.ValueInfoProto(name=name))
        return _session(model, self._device), name


def _session(model: Any, device: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CPUExecutionProvider"]
    if device == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        else:
            _log.info("this onnxruntime has no CUDA (pip install onnxruntime-gpu); the CPU is used")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def _graphs(model: Any) -> Iterator[Any]:
    """The graph, those inside its control flow, and the functions of the file."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _check_operators(path: Path, model: Any) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    for graph in _graphs(model):
        for node in graph.node:
            if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
                raise DataError(
                    f"{path}: cannot be used: its operator {node.op_type} of {node.domain} is none of ONNX' own and "
                    "would need a library of machine code; export the model with standard operators"
                )


def _arrays(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from ([attribute.t] if attribute.HasField("t") else [])
                yield from attribute.tensors
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def _external(model: Any) -> list[Any]:
    """The arrays that do not stand in the model's own file."""
    return [array for array in _arrays(model) if array.data_location == 1]  # EXTERNAL


def _locations(arrays: list[Any]) -> set[str]:
    """The files in which they stand."""
    return {entry.value for array in arrays for entry in array.external_data if entry.key == "location"}


def _external_bytes(path: Path, content: bytes) -> int:
    """How large the files are, beside or below an ONNX file, that belong to it, each counted once."""
    folder, locations = path.parent.resolve(), _locations(_external(_parsed(path, content)))
    files = {(folder / location).resolve() for location in locations} - {path.resolve()}
    return sum(file.stat().st_size for file in files if file.is_relative_to(folder) and file.is_file())


def _embed(path: Path, model: Any) -> bytes:
    """Read the arrays that stand in further files, which must be in the folder of the model; their digest."""
    folder = path.parent.resolve()
    external, digest = _external(model), hashlib.sha256()
    for location in _locations(external):
        inside = (folder / location).resolve()
        if Path(location).is_absolute() or not inside.is_relative_to(folder) or (folder / location).is_symlink():
            raise DataError(f"{path}: cannot be used: it takes arrays from {location}, outside its own folder")
        if not inside.is_file():
            raise DataError(f"{path}: its arrays stand in {location}, which is not beside it")
    from onnx.external_data_helper import load_external_data_for_tensor

    for array in external:
        try:
            load_external_data_for_tensor(array, str(folder))
        except Exception as error:  # ValueError, OSError and onnx' own
            raise DataError(f"{path}: the arrays beside it cannot be read ({error})") from error
        array.data_location = 0  # DEFAULT
        del array.external_data[:]
        digest.update(array.raw_data)  # how long each is, the file itself says
    return digest.digest() if external else b""


def _check_sizes(path: Path, model: Any) -> None:
    """Refuse graphs that make huge arrays, as far as their shapes can be told without running them."""
    import onnx

    try:
        known = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise DataError(f"{path}: is an inconsistent ONNX graph ({first_line(error)})") from error
    for value in (*known.graph.value_info, *known.graph.input, *known.graph.output):
        count = math.prod(max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim)
        if count > _MOST_VALUES:
            raise DataError(f"{path}: cannot be used: it makes an array {value.name} of {count} numbers")
