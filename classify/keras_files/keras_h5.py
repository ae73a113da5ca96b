"""The content of a ``.h5`` or ``.hdf5`` file of Keras 1 to 3, read without Keras, in the terms of a ``.keras`` file.

Such a file has the model's configuration as JSON in the attribute ``model_config`` and, in the group ``model_weights``,
one group a layer whose attribute ``weight_names`` lists its arrays in order. A nested model is one such group, with the
arrays of all its layers. Configurations are put into Keras 3's words (:mod:`.keras2`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np

from ...runtime.errors import first_line
from .errors import Untranslatable
from .keras2 import in_keras3_words, is_model
from .keras3 import array, hard_link, layer_paths
from .safety import MOST_CONFIG, Refused, check_config, check_hdf5

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class KerasH5File:
    """An open HDF5 file; close it by leaving its ``with`` block. Serves in place of a :class:`.keras3.KerasFile`.

    Attributes:
        config: the model's class and configuration, in Keras 3's words.

    Raises:
        Refused: damaged, or only weights.
        Untranslatable: written with the Theano backend, whose kernels are mirrored.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self._file = h5py.File(io.BytesIO(content), "r")
        except OSError as error:
            raise Refused(f"it is a damaged HDF5 file ({first_line(error)})") from error
        try:
            self.config: dict[str, Any] = in_keras3_words(_read_config(self._file), _version_of(self._file))
            self._places = dict(_places(self.config["config"]["layers"]))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self._file.close()
            raise Untranslatable(f"has an inconsistent configuration ({type(error).__name__}: {error})") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> KerasH5File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def variables(self, path: str, name: str) -> list[np.ndarray]:
        """The variables of a layer in Keras' order; see :meth:`.keras3.KerasFile.variables`."""
        top, nested = self._places[path]
        weights = hard_link(self._file, "model_weights")
        group = hard_link(weights, top) if isinstance(weights, h5py.Group) else None
        if not isinstance(group, h5py.Group):
            return []
        names = _names(group, "weight_names")
        if len(set(names)) != len(names):
            raise Untranslatable(f"{top}: lists an array twice")
        if nested:  # the arrays of all layers, called LAYER/VARIABLE:0 or MODEL/LAYER/VARIABLE:0
            names = [written for written in names if written.split("/")[-2:-1] == [name]]
        return [_array(group, written, name) for written in names]


def check(content: bytes, why: str = "") -> None:
    """Look through a file before Keras gets it; ``why`` it is asked goes into the message.

    Raises:
        Refused: it asks for code or other files, holds no configuration, is of Keras 1, or would be misread.
        Untranslatable: as :func:`_read_config`.
    """
    check_hdf5(content)
    with h5py.File(io.BytesIO(content), "r") as file:
        config, version = _read_config(file), _version_of(file)
    check_config(config)
    if version < 2:
        raise Refused(f"it is of Keras 1, which Keras itself no longer reads{f' ({why})' if why else ''}")
    if version < 3 and "'hard_sigmoid'" in str(config):
        raise Refused("its hard_sigmoid is that of an older Keras, and Keras itself would take it for today's")


def _read_config(file: h5py.File) -> Any:
    """The configuration as it is written.

    Raises:
        Refused: there is none, or it is damaged.
        Untranslatable: it is none of a model that these readers know.
    """
    text = file.attrs.get("model_config")
    if text is None:
        raise Refused("it holds weights only, no network; save the whole model")
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str) or len(text) > MOST_CONFIG:
        raise Refused("its model_config is not text, or larger than any network's")
    backend = file.attrs.get("backend", b"")
    if backend in ("theano", b"theano"):
        raise Untranslatable("was written with the Theano backend, whose kernels are mirrored")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"its model_config is not JSON ({error})") from error


def _version_of(file: h5py.File) -> int:
    """The major version of Keras that wrote a file; files without one are of Keras 1."""
    version = file.attrs.get("keras_version", "1")
    text = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    return int(text.split(".")[0])


def _places(
    layers: Iterable[Mapping[str, Any]], inside: str = "", top: str | None = None
) -> Iterable[tuple[str, tuple[str, bool]]]:
    """(path of a layer as :func:`layer_paths` counts it, (the group with its arrays, whether that is a model's))."""
    layers = list(layers)
    paths = layer_paths(layers, inside)
    for layer in layers:
        name = layer["config"]["name"]
        path = paths[name]
        yield path, (top or name, top is not None)
        if is_model(layer):
            yield from _places(layer["config"]["layers"], f"{path}/", top or name)


def _names(group: h5py.Group, key: str) -> list[str]:
    """An attribute with names; long lists are split into KEY0, KEY1, ..."""
    parts = [key] if key in group.attrs else sorted((k for k in group.attrs if k[: len(key)] == key), key=_number)
    found = [name for part in parts for name in np.atleast_1d(group.attrs[part])]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _number(key: str) -> int:
    digits = "".join(c for c in key if c.isdigit())
    return int(digits or 0)


def _array(group: h5py.Group, written: str, layer: str) -> np.ndarray:
    *folders, last = written.split("/")
    for folder in folders:
        group = hard_link(group, folder)
        if not isinstance(group, h5py.Group):
            raise Untranslatable(f"{layer}: has no array {written}")
    return array(group, last, layer)
