"""Open a classifier's file of any supported format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...runtime.errors import DataError
from ..keras_files import keras_h5
from ..keras_files.keras3 import KerasFile
from ..keras_files.safety import check_archive
from ..wanted import Wanted
from . import onnx
from .by_keras import KerasFormat
from .network import Network

if TYPE_CHECKING:
    from ..backend import keras


class Format(Protocol):
    """The reader of one format: a module, or a :class:`KerasFormat`. Nothing in a file may be executed."""

    def recognise(self, path: Path, content: bytes) -> bool:
        """Whether a file is of this format; it may still be damaged."""

    def read(self, path: Path, content: bytes, device: str, wanted: Wanted) -> Network:
        """The network, ready to run on ``cpu`` or ``cuda``; opened with :func:`.network.open_tried`.

        ``wanted`` says what the file leaves open.

        Raises:
            DataError: the file cannot be used.
        """


KERAS_FORMATS = (
    KerasFormat(b"PK", ".keras", KerasFile, lambda content, why: check_archive(content)),
    KerasFormat(keras_h5.SIGNATURE, ".h5", keras_h5.KerasH5File, keras_h5.check),
)
FORMATS: tuple[Format, ...] = (*KERAS_FORMATS, onnx)
"""The formats; the first one that recognises a file reads it."""


def open_network(path: Path, content: bytes, device: str, wanted: Wanted | None = None) -> Network:
    """Make the network of a model file ready to run.

    What does not come with fergan is opened and tried in a child process first, within limits (see :mod:`.bounded`).

    Raises:
        DataError: the file is damaged, asks for code, for far more memory or time than its size gives reason for, or
            what it needs is not installed; or the network's outputs are not numbers.
    """
    for form in FORMATS:
        if form.recognise(path, content):
            return form.read(path, content, device, wanted or Wanted())
    raise DataError(f"{path}: is neither a .keras, .h5 nor .onnx file, or its beginning is damaged")


def open_keras_model(path: Path, content: bytes) -> keras.Model:
    """Let Keras itself open a ``.keras``, ``.h5`` or ``.hdf5`` file that asks for no code, within limits as above.

    Raises:
        DataError: the file is damaged, asks for code or for other files, claims sizes that it cannot have, or is of
            Keras 1.
    """
    for form in KERAS_FORMATS:
        if form.recognise(path, content):
            return form.load(path, content, "cpu")
    raise DataError(f"{path}: is neither a .keras nor an .h5 file")
