"""The two containers of ``torch.save``, read without torch: a tensor is a window on a storage, a storage is bytes.

*Legacy* (torch before 1.6, and every storage inside a stylegan2-ada-pytorch pickle): five pickles of protocol 2, then
the numbers. The pickles are a magic number; the protocol, 1001; facts on the machine; the object, whose storages are
persistent ids ``('storage', torch.FloatStorage, key, device, numel, None)``; and the list of keys. Then for each key an
int64 count and that many numbers, all little-endian.

*Zip* (since 1.6): an uncompressed zip archive with one top folder. ``data.pkl`` is the object, with the same persistent
ids but for the last item, and ``data/<key>`` are the numbers. ``byteorder`` says ``little`` where it exists.
"""

import functools
import io
import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import CheckpointError
from .restricted_pickle import Global, Machine, Record, Table, brief, refuse

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_ZIP_ENTRIES = 100_000

STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}


@dataclass(eq=False)
class Storage(Record):
    """A flat array of numbers. ``find`` gives its bytes as a view of the file."""

    dtype: np.dtype
    numel: int
    find: Callable[[], memoryview]


@dataclass(eq=False)
class TorchTensor(Record):
    """A strided window on a storage, known to lie inside it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in numbers, not bytes; channels-last files have (I*k*k, 1, I*k, I) for a weight

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers in the window."""
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def numpy(self) -> np.ndarray:
        """A C-ordered float32 copy."""
        itemsize = self.storage.dtype.itemsize
        flat = np.frombuffer(self.storage.find(), self.storage.dtype)[self.offset :]
        window = np.lib.stride_tricks.as_strided(flat, self.shape, [s * itemsize for s in self.stride], writeable=False)
        return np.array(window, dtype=np.float32, order="C")


def make_tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> TorchTensor:
    """The window, after a check that every number of it lies inside the storage."""
    if type(storage) is not Storage:
        refuse("a tensor without a storage")
    sizes, steps = counts(shape, "a tensor's shape"), counts(stride, "a tensor's stride")
    (first,) = counts((offset,), "a tensor's offset")
    if len(sizes) != len(steps):
        refuse("a tensor whose shape and stride disagree")
    number = math.prod(sizes)
    last = first + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    # The last test keeps strides of 0 from blowing four bytes up to a terabyte.
    if number and (last >= storage.numel or number > storage.numel):
        refuse("a tensor that reaches outside its storage")
    return TorchTensor(storage, first, sizes, steps)


def counts(value: Any, what: str) -> tuple[int, ...]:
    """``value`` if it is a tuple of at most eight integers from 0 up, small enough to multiply."""
    if type(value) is not tuple or len(value) > 8 or any(type(n) is not int or not 0 <= n < 2**48 for n in value):
        refuse(f"{what} is not a tuple of counts")
    return value


def read_legacy(data: memoryview, table: Table, parent: Machine | None = None) -> Any:
    """The object in a legacy file; see the module's text."""
    machine = Machine(data, table, parent=parent)
    magic, protocol = machine.read(), machine.read()
    if type(magic) is not int or magic != MAGIC or protocol != PROTOCOL:
        refuse("a torch file without torch's magic number")
    facts = machine.read()
    if type(facts) is not dict or facts.get("little_endian") is not True:
        raise CheckpointError("it was saved on a big-endian machine; load and save it again on a common one")

    storages: dict[str, Storage] = {}
    views: dict[str, memoryview] = {}

    def find_storage(reference: tuple[Any, ...]) -> Storage:
        key, dtype, numel = _parse_reference(reference, length=6)
        if reference[5] is not None:
            refuse("a view of a storage")
        if key not in storages:
            storages[key] = Storage(dtype, numel, lambda: views[key])
        if (storages[key].dtype, storages[key].numel) != (dtype, numel):
            refuse("a storage of two sizes")
        return storages[key]

    machine.find_storage = find_storage
    found = machine.read()
    machine.find_storage = None
    keys = machine.read()
    if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(storages):
        refuse("a list of storages that does not match those in use")
    for key in keys:
        storage = storages[key]
        if machine.integer("<q") != storage.numel:
            refuse("a storage whose count of numbers differs from what was announced")
        views[key] = machine.take(storage.numel * storage.dtype.itemsize)
    return found


def read_zip(data: bytes, table: Table) -> Any:
    """The object in a zip file; see the module's text. The numbers are checked against the archive's CRC when read."""
    if data.count(b"PK\x01\x02") > MAX_ZIP_ENTRIES:
        refuse("a zip archive of more entries than any checkpoint has")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise CheckpointError(
            f"its zip archive is damaged or cut short ({brief(str(error))}); get a fresh copy"
        ) from None
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError("a zip archive, but not one of torch.save: there is no data.pkl in it")
    folder = pickles[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in entries or any(name.startswith(folder + "code/") for name in entries):
        raise CheckpointError(
            "a TorchScript program, which is code and not only weights; use the checkpoint that it was exported from"
        )
    view = memoryview(data)

    @functools.cache  # a checksum is computed once, however many tensors share the storage
    def content(name: str) -> memoryview:
        if name not in entries:
            refuse(f"no {brief(name)} in the archive")
        entry = entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            refuse("a compressed archive, which torch.save never writes")
        header = data[entry.header_offset : entry.header_offset + 30]
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            refuse("a zip entry without a header")
        start = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        found = view[start : start + entry.file_size]
        if len(found) != entry.file_size or zlib.crc32(found) != entry.CRC:
            refuse(f"{brief(name)} does not match its checksum")
        return found

    if folder + "byteorder" in entries and bytes(content(folder + "byteorder")) != b"little":
        raise CheckpointError("it was saved on a big-endian machine; load and save it again on a common one")

    storages: dict[str, Storage] = {}

    def find_storage(reference: tuple[Any, ...]) -> Storage:
        key, dtype, numel = _parse_reference(reference, length=5)
        name = f"{folder}data/{key}"
        if name not in entries or entries[name].file_size != numel * dtype.itemsize:
            refuse("a storage that is missing or of another size than announced")
        return storages.setdefault(key, Storage(dtype, numel, lambda: content(name)))

    return Machine(content(pickles[0]), table, find_storage).read()


def _parse_reference(reference: tuple[Any, ...], length: int) -> tuple[str, np.dtype, int]:
    """(key, dtype, numel) of a persistent id."""
    if len(reference) != length or reference[0] != "storage" or type(reference[1]) is not Global:
        refuse("a storage of an unknown form")
    kind, key = reference[1].name, reference[2]
    (numel,) = counts((reference[4],), "a storage's size")
    if kind not in STORAGE_DTYPES or type(key) is not str:
        refuse("a storage of an unknown form")
    return key, np.dtype(STORAGE_DTYPES[kind]), numel
