"""Every Python name that a StyleGAN2 checkpoint may mention, and the inert record that stands in for it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import CheckpointError
from .restricted_pickle import Builder, Global, Machine, Record, brief, refuse
from .torch_files import STORAGE_DTYPES, Storage, TorchTensor, counts, make_tensor, read_legacy


@dataclass(eq=False)
class NumpyArray(Record):
    """A numpy array; ``data`` is a view of the file."""

    shape: tuple[int, ...] = (0,)
    dtype: np.dtype = field(default_factory=lambda: np.dtype("<f4"))
    fortran: bool = False
    data: memoryview | bytes = b""

    def set_state(self, state: Any) -> None:
        """``(1, shape, dtype, is_fortran, data)``."""
        if type(state) is not tuple or len(state) != 5:
            refuse("an array of an unknown form")
        _, shape, dtype, fortran, data = state
        if type(dtype) is not Dtype:
            refuse("an array of an unknown type")
        self.shape, self.dtype, self.fortran = counts(shape, "an array's shape"), dtype.dtype, fortran is True
        self.data = _as_bytes(data)
        if math.prod(self.shape) * self.dtype.itemsize != len(self.data):
            refuse("an array whose shape and data disagree")

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return len(self.data)

    def numpy(self) -> np.ndarray:
        """A C-ordered float32 copy."""
        array = np.frombuffer(self.data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return np.array(array, dtype=np.float32, order="C")


@dataclass(eq=False)
class Dtype(Record):
    """A numpy dtype: numbers only, never objects, records or text."""

    dtype: np.dtype

    def set_state(self, state: Any) -> None:
        """``(3, byte order, None, None, None, -1, -1, 0)``."""
        if (
            type(state) is not tuple
            or len(state) < 5
            or state[1] not in ("<", ">", "|", "=")
            or set(state[2:5]) != {None}
        ):
            refuse("an array of something other than numbers")
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


@dataclass(eq=False)
class PersistentObject(Record):
    """A network or layer of stylegan2-ada-pytorch: the name of its class, and what was its ``__dict__``."""

    class_name: str
    state: dict[Any, Any]


@dataclass(eq=False)
class TensorFlowNetwork(Record):
    """A ``dnnlib.tflib.Network``: what was its state."""

    state: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        if type(state) is not dict:
            refuse("a network without state")
        self.state = state


@dataclass(eq=False)
class Namespace(Record):
    """An ``argparse.Namespace``: the arguments that a training was started with."""

    values: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        if type(state) is not dict:
            refuse("a namespace of an unknown form")
        self.values = state


def _device(machine: Machine, *args: Any) -> None:
    """``torch.device('cuda', 0)``, among the arguments of some trainings."""


def _mapping(machine: Machine, *args: Any) -> dict[Any, Any]:
    """OrderedDict and EasyDict are dictionaries to us; old OrderedDicts are given their items in a list."""
    items = args[0] if args else []
    if len(args) > 1 or type(items) is not list or any(type(item) not in (tuple, list) for item in items):
        refuse("a dictionary of an unknown form")
    return {machine.key(key): value for key, value in items}


def _set(machine: Machine, *args: Any) -> set[Any]:
    items = args[0] if args else []
    if len(args) > 1 or type(items) is not list:
        refuse("a set of an unknown form")
    return {machine.key(item) for item in items}


def _encode(machine: Machine, text: Any, encoding: Any) -> bytes:
    """``_codecs.encode(text, 'latin1')``: how protocol 2 spells a byte string."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        refuse("a byte string of an unknown form")
    machine.spend("bytes", len(text))
    return text.encode("latin-1")


def _dtype(machine: Machine, descriptor: Any, *flags: Any) -> Dtype:
    """``numpy.dtype('f4', False, True)``."""
    plain = descriptor.lstrip("<>|=") if type(descriptor) is str else ""
    if plain not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
        refuse("an array of something other than numbers")
    return Dtype(np.dtype(plain).newbyteorder(">" if descriptor.startswith(">") else "<"))


def _scalar(machine: Machine, dtype: Any, data: Any) -> float | int | bool:
    """``numpy.core.multiarray.scalar(dtype, bytes)``, as Python's own number."""
    raw = _as_bytes(data)
    if type(dtype) is not Dtype or len(raw) != dtype.dtype.itemsize:
        refuse("a number of an unknown form")
    return np.frombuffer(raw, dtype.dtype)[0].item()


def _empty_array(machine: Machine, kind: Any, shape: Any, typecode: Any) -> NumpyArray:
    """``_reconstruct(ndarray, (0,), b'b')``: an array that a BUILD then fills."""
    if type(kind) is not Global or kind.name != "ndarray":
        refuse("an array of an unknown class")
    return NumpyArray()


def _array_of_buffer(machine: Machine, data: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
    """``_frombuffer(data, dtype, shape, order)``: how protocol 5 spells a contiguous array."""
    array = NumpyArray()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def _tensor(machine: Machine, storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> TorchTensor:
    """``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)``."""
    return make_tensor(storage, offset, shape, stride)


def _parameter(machine: Machine, tensor: Any, *rest: Any) -> TorchTensor:
    """``_rebuild_parameter(tensor, requires_grad, hooks)``."""
    if type(tensor) is not TorchTensor:
        refuse("a parameter that is not a tensor")
    return tensor


def _nested_storage(machine: Machine, data: Any) -> Storage:
    """``_load_from_bytes(bytes)``: a whole legacy torch file in a byte string, with one storage in it."""
    if machine.nesting:
        refuse("storages nested in storages")
    storage = read_legacy(memoryview(_as_bytes(data)), machine.table, machine)
    if type(storage) is not Storage:
        refuse("a storage that is none")
    return storage


def _persistent_object(machine: Machine, meta: Any) -> PersistentObject:
    """``_reconstruct_persistent_obj(meta)``. The source code in ``meta['module_src']`` is dropped unread."""
    if type(meta) is not dict or meta.get("type") != "class":
        refuse("a network of an unknown form")
    name, state, version = meta.get("class_name"), meta.get("state"), meta.get("version")
    if version != 6:
        raise CheckpointError(
            f"its networks are in version {brief(version)} of NVIDIA's format; only version 6 is known. "
            "Save it again with stylegan2-ada-pytorch or stylegan3"
        )
    if type(name) is not str or type(state) is not dict:
        refuse("a network without a name or state")
    return PersistentObject(name, state)


def _as_bytes(value: Any) -> memoryview | bytes:
    if type(value) is str:  # a byte string of Python 2, which the machine reads as latin-1
        return value.encode("latin-1")
    if type(value) not in (memoryview, bytes):
        refuse("something in place of a byte string")
    return value


STAND_INS: dict[tuple[str, str], Builder | None] = {
    ("collections", "OrderedDict"): _mapping,
    ("dnnlib.util", "EasyDict"): _mapping,
    ("argparse", "Namespace"): lambda machine: Namespace(),
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("builtins", "bytes"): lambda machine: b"",  # how protocol 2 spells an empty byte string
    ("__builtin__", "bytes"): lambda machine: b"",
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): None,
    ("torch", "device"): _device,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _nested_storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
    ("dnnlib.tflib.network", "Network"): lambda machine: TensorFlowNetwork(),
}
for _numpy in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    STAND_INS[_numpy + ".multiarray", "scalar"] = _scalar
    STAND_INS[_numpy + ".multiarray", "_reconstruct"] = _empty_array
    STAND_INS[_numpy + ".numeric", "_frombuffer"] = _array_of_buffer
for _storage in STORAGE_DTYPES:
    STAND_INS["torch", _storage] = None
