"""Checks of a Keras file before Keras itself may open it: it asks for nothing that runs code or reaches elsewhere.

Keras' own ``safe_mode`` stays on as well. It does not replace this: it has had holes (CVE-2025-1550, CVE-2025-8747 and
CVE-2025-9906 for ``.keras``, CVE-2025-9905 for ``.h5``), and it lets files name any importable class.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

MOST_CONFIG = 2**24
"""Largest configuration that is read, in bytes; those of networks with a thousand layers have a million."""
_EXPANSION = 64
"""Times its own size that a file may take when it is unpacked."""

_MOST_CALLS = 10_000
"""Calls of layers in a network; the largest of ``keras.applications`` has about a thousand."""

_PROGRAMS = {
    "Lambda": "Python code",
    "JaxLayer": "a JAX function",
    "FlaxLayer": "a Flax module",
    "TorchModuleWrapper": "a pickled torch module",
    "TFSMLayer": "a TensorFlow program",
    "StringLookup": "a file outside the model",
    "IntegerLookup": "a file outside the model",
    "TextVectorization": "a file outside the model",
}
"""Layers of Keras that hold or load more than numbers."""

_MODULES = (
    *("keras", "keras.activations", "keras.constraints", "keras.dtype_policies", "keras.initializers", "keras.layers"),
    *("keras.models", "keras.quantizers", "keras.regularizers", "keras.losses", "keras.metrics", "keras.optimizers"),
)
_MODULE_PREFIXES = ("keras.src.models.", "keras.src.layers.", "keras.src.ops.", "keras.src.activations.")
_OF_APPLICATIONS = ("CustomScaleLayer", "LayerScale")
"""Layers of ``keras.applications``; the other names in there are functions that fetch weights."""
_OWN_MARKS = ("__keras_tensor__", "__tensor__", "__numpy__", "__tuple__", "__bytes__", "__ellipsis__", "slice")


class Refused(Exception):
    """The file asks for something that fergan never does; the message says what and what to do."""


def check_config(config: Any) -> None:
    """Look through a model's configuration.

    Args:
        config: of Keras 1, 2 or 3; the optimizer and losses of the model itself are not looked at, nor read.

    Raises:
        Refused: a layer holds code, or is of a class that is not Keras' own.
    """
    if isinstance(config, dict):
        config = {key: value for key, value in config.items() if key != "compile_config"}
    check_calls(config)
    for item in _objects(config):
        kind = item["class_name"]
        inner = item.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        called = f"layer {name!r}" if name else f"part {kind!r}"
        if kind in _PROGRAMS or kind == "__lambda__":
            what = _PROGRAMS.get(kind, "Python code")
            raise Refused(
                f"its {called} is a {kind.strip('_')}: it needs {what}, and files are data here, never programs; "
                "replace it by Keras' own layers and save the model again"
            )
        if kind in _OWN_MARKS:
            continue
        short = kind.split(">")[-1]  # of PACKAGE>NAME
        module, registered = item.get("module"), item.get("registered_name")
        known = module is None or module in _MODULES or str(module).startswith(_MODULE_PREFIXES)
        known = known or (str(module).startswith("keras.src.applications.") and kind in _OF_APPLICATIONS)
        if not known or ">" in str(registered or "") or (module is None and not _is_of_keras(kind)):
            raise Refused(
                f"its {called} is of the class {short}, which is none of Keras' own and would need its program; "
                "replace it by Keras' own layers, or export the model to ONNX"
            )


def check_calls(config: Any) -> None:
    """Look how often layers are called: a model that calls the model inside it twice doubles its work at each level.

    Raises:
        Refused: far more often than in any network.
    """
    if (calls := _calls(config)) > _MOST_CALLS:
        raise Refused(
            f"its layers are called {calls} times, models within models counted; at most {_MOST_CALLS} are run"
        )


def _calls(config: Any) -> int:
    if isinstance(config, list):
        return sum(map(_calls, config))
    if not isinstance(config, dict):
        return 0
    within = sum(_calls(value) for key, value in config.items() if key != "inbound_nodes")
    nodes = config.get("inbound_nodes")
    return within if nodes is None else max(1, within) * max(1, len(nodes) if isinstance(nodes, list) else 1)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from _objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value)


def _is_of_keras(kind: str) -> bool:
    from ..backend import keras

    older = ("Model", "Functional", "Policy", "L1L2", "VarianceScaling", *_OF_APPLICATIONS)
    homes = (keras.layers, keras.models, keras.initializers, keras.regularizers, keras.constraints, keras)
    return kind in older or any(hasattr(home, kind) for home in homes)


def check_archive(content: bytes) -> None:
    """Look through a ``.keras`` file.

    Raises:
        Refused: as :func:`check_config` and :func:`check_hdf5`; or it grows too much when it is unpacked.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(part.file_size for part in archive.infolist()) > _EXPANSION * len(content) + 2**20:
            raise Refused(f"it unpacks to more than {_EXPANSION} times its size")
        if archive.getinfo("config.json").file_size > MOST_CONFIG:
            raise Refused("its config.json is larger than any network's")
        check_config(json.loads(archive.read("config.json")))
        check_hdf5(archive.read("model.weights.h5"))


def check_hdf5(content: bytes) -> None:
    """Look through the arrays of an HDF5 file.

    Raises:
        Refused: it links to other files or places, holds anything but numbers, or claims far more than it holds.
    """
    total = 0
    with h5py.File(io.BytesIO(content), "r") as file:
        groups, seen = [file["/"]], set()
        while groups:
            group = groups.pop()
            if group.id in seen:  # hard links can form rings
                continue
            seen.add(group.id)
            for name in group:
                if group.get(name, getlink=True, getclass=True) is not h5py.HardLink:
                    raise Refused(f"its weights link from {group.name}/{name} to another place or file")
                member = group[name]
                if isinstance(member, h5py.Group):
                    groups.append(member)
                elif isinstance(member, h5py.Dataset):
                    if member.is_virtual or member.external:
                        raise Refused(f"its array {member.name} lies in another file")
                    if member.dtype.kind not in "fiubSOV":
                        raise Refused(f"its array {member.name} holds {member.dtype}, no numbers")
                    chunk = (
                        math.prod(member.chunks or ()) * member.dtype.itemsize
                    )  # is unpacked whole to read any of it
                    total += max(int(member.nbytes), chunk)
    if total > _EXPANSION * len(content) + 2**20:
        raise Refused(f"its arrays claim to be more than {_EXPANSION} times as large as the file")
