"""The content of a ``.keras`` file, read without Keras: the configuration and the weights of each layer.

A ``.keras`` file of Keras 3, or of 2.12 to 2.15, is a zip of ``metadata.json``, ``config.json`` and
``model.weights.h5``. In the last, each layer has a group ``layers/CLASS_NUMBER/vars`` with its variables ``0``, ``1``,
...; nested models have ``layers`` of their own. Only that layout is read, and only what is plainly stored: no links, no
virtual, external or compressed data.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np

from ...runtime.errors import first_line
from .errors import Untranslatable
from .keras2 import in_keras3_words
from .safety import MOST_CONFIG, Refused


class KerasFile:
    """An open ``.keras`` file; close it by leaving its ``with`` block.

    Attributes:
        config: the model's class and configuration, from ``config.json``, in Keras 3's words.

    Raises:
        Refused: no zip, damaged, or without one of the three parts.
        Untranslatable: of another Keras than 2 and 3.
    """

    def __init__(self, content: bytes) -> None:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if "metadata.json" not in archive.namelist():
                    raise Untranslatable("has no metadata.json")
                for name in ("metadata.json", "config.json"):
                    if archive.getinfo(name).file_size > MOST_CONFIG:
                        raise Refused(f"its {name} is larger than any network's")
                try:
                    metadata = json.loads(archive.read("metadata.json"))
                except ValueError as error:
                    raise Untranslatable(f"has no readable metadata.json ({first_line(error)})") from error
                self.config: dict[str, Any] = json.loads(archive.read("config.json"))
                if archive.getinfo("model.weights.h5").compress_type != zipfile.ZIP_STORED:
                    raise Untranslatable("the weights are compressed")
                weights = archive.read("model.weights.h5")
        except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RecursionError, zlib.error) as error:
            raise Refused(f"it is not a zip of a Keras model, or a damaged one ({first_line(error)})") from error
        version = str(metadata.get("keras_version") if isinstance(metadata, dict) else None)
        if not version.startswith(("2.", "3.")):
            raise Untranslatable(f"was written by Keras {version}")
        if version.startswith("2."):
            try:
                self.config = in_keras3_words(self.config, 2)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise Untranslatable(f"has an inconsistent configuration ({error})") from error
        try:
            self._file = h5py.File(io.BytesIO(weights), "r")
        except OSError as error:
            raise Refused(f"its model.weights.h5 is damaged ({first_line(error)})") from error

    def __enter__(self) -> KerasFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def variables(self, path: str, name: str) -> list[np.ndarray]:
        """The variables of a layer in Keras' order; none where the file has no such layer.

        Args:
            path: of its group, such as ``layers/conv2d_1`` (see :func:`layer_paths`).
            name: of the layer; newer files repeat it beside the weights, and then it must agree.

        Raises:
            Untranslatable: the group belongs to another layer, or holds something else than plain arrays.
        """
        group: Any = self._file
        if "_layer_checkpoint_dependencies" in group:  # Keras 2.12's name of ``layers``
            path = path.replace("layers/", "_layer_checkpoint_dependencies/")
        for part in (*path.split("/"), "vars"):
            group = hard_link(group, part)
            if group is None:
                return []
            if not isinstance(group, h5py.Group):
                raise Untranslatable(f"{path}: is not a group")
        written = group.attrs.get("name", name)
        if written != name:
            raise Untranslatable(f"{path}: holds the weights of {written}, not of {name}")
        if set(group) != {str(index) for index in range(len(group))}:
            raise Untranslatable(f"{path}: its variables are not numbered")
        return [array(group, str(index), path) for index in range(len(group))]


def layer_paths(layers: Iterable[Mapping[str, Any]], inside: str = "") -> dict[str, str]:
    """Layer name -> path of the group of its weights: layers count by class, in the order of the configuration."""
    counts: dict[str, int] = {}
    paths = {}
    for layer in layers:
        if str(layer.get("module")).startswith("keras.src.ops."):  # operations have no weights and are not counted
            paths[layer["config"]["name"]] = f"{inside}operations/{layer['config']['name']}"
            continue
        kind = _snake(layer["class_name"])
        number = counts[kind] = counts.get(kind, -1) + 1
        paths[layer["config"]["name"]] = f"{inside}layers/{kind}" + (f"_{number}" if number else "")
    return paths


def _snake(name: str) -> str:
    """``SeparableConv2D`` -> ``separable_conv2d``, as Keras names groups after classes."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def hard_link(group: h5py.Group, name: str) -> Any:
    """A member that is really there, or None; links could lead to other files."""
    if name not in group:
        return None
    if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise Untranslatable(f"{group.name}/{name}: is a link")
    return group[name]


def array(group: h5py.Group, name: str, path: str) -> np.ndarray:
    """A member that is a plain array of numbers, stored in full; ``path`` names its layer in errors."""
    data = hard_link(group, name)
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external or "dtype" in data.attrs:
        raise Untranslatable(f"{path}: variable {name} is not a plain array")
    # what is not stored in full would be filled up while reading, to any size that the file claims
    if data.dtype.kind not in "fiu" or data.id.get_storage_size() != data.nbytes:
        raise Untranslatable(f"{path}: variable {name} is not stored in full")
    return np.asarray(data)
