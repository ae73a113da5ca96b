"""What is in a ``.h5`` or ``.hdf5`` file of Keras 1 to 3, read without Keras, in the terms of a ``.keras`` file.

Such a file has the model's configuration as JSON in the attribute ``model_config`` and, in the group ``model_weights``,
one group a layer whose attribute ``weight_names`` lists its arrays in order. A nested model is one such group, with the
arrays of all its layers. Configurations of Keras 1 and 2 are put into Keras 3's words: the options changed their names
(``nb_filter`` became ``filters``) and the calls of layers their form.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from .keras3 import Untranslatable, array, hard_link, is_model, layer_paths

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_CONFIG = 2**24


class KerasH5File:
    """An open HDF5 file; close it by leaving its ``with`` block. Serves in place of a :class:`.keras_file.KerasFile`.

    Attributes:
        config: the model's class and configuration, in Keras 3's words.

    Raises:
        Untranslatable: damaged, only weights, or written with the Theano backend, whose kernels are mirrored.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self._file = h5py.File(io.BytesIO(content), "r")
        except OSError as error:
            raise Untranslatable(f"is a damaged HDF5 file ({error})") from error
        try:
            self.config: dict[str, Any] = _model(read_config(self._file), version_of(self._file))
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
        """The variables of a layer in Keras' order; see :meth:`.keras_file.KerasFile.variables`."""
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


def read_config(file: h5py.File) -> Any:
    """The configuration as it is written.

    Raises:
        Untranslatable: there is none, or it is none of a model that these readers know.
    """
    text = file.attrs.get("model_config")
    if text is None:
        raise Untranslatable("holds weights only, no network; save the whole model")
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str) or len(text) > _MOST_CONFIG:
        raise Untranslatable("its model_config is no text, or larger than any network's")
    backend = file.attrs.get("backend", b"")
    if backend in ("theano", b"theano"):
        raise Untranslatable("was written with the Theano backend, whose kernels are mirrored")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Untranslatable(f"its model_config is no JSON ({error})") from error


def version_of(file: h5py.File) -> int:
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


# ---------------------------------------------------------------------------------------------------------------------
# Configurations

_CLASSES = {
    "AtrousConvolution2D": "Conv2D",
    "Convolution2D": "Conv2D",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "SeparableConvolution2D": "SeparableConv2D",
}
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}
_RENAMED = {
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "border_mode": "padding",
    "concat_axis": "axis",
    "nb_filter": "filters",
    "output_dim": "units",
    "subsample": "strides",
}
_OF_THE_FIRST = ("batch_input_shape", "batch_shape", "input_shape", "input_dim", "input_dtype", "input_length")
_DROPPED = (*_OF_THE_FIRST, "init", "weights", "fused")


def _model(model: Mapping[str, Any], major: int) -> dict[str, Any]:
    kind, config = model["class_name"], model["config"]
    if kind == "Sequential":
        config = {"layers": config} if isinstance(config, list) else dict(config)
        layers = list(config["layers"])
        shape = layers[0]["config"].get("batch_input_shape") if layers else None
        if shape and layers[0]["class_name"] != "InputLayer":
            inputs = {"name": f"{layers[0]['config']['name']}_input", "batch_input_shape": shape}
            layers.insert(0, {"class_name": "InputLayer", "config": inputs})
        config = {**config, "name": config.get("name", "sequential"), "layers": [_layer(x, major) for x in layers]}
        return {"module": "keras", "class_name": kind, "config": config}
    if kind not in ("Model", "Functional"):
        raise Untranslatable(f"{kind} is neither a Functional nor a Sequential model")
    config = {**config, "layers": [_layer(layer, major) for layer in config["layers"]]}
    return {"module": "keras", "class_name": "Functional", "config": config}


def _layer(layer: Mapping[str, Any], major: int) -> dict[str, Any]:
    nodes = [_node(node) for node in layer.get("inbound_nodes", ())]
    if layer["class_name"] in ("Sequential", "Model", "Functional"):
        model = _model(layer, major)
        model["config"].setdefault("name", layer.get("name"))
        return {**model, "inbound_nodes": nodes}
    kind, config = layer["class_name"], dict(layer["config"])
    if kind == "InputLayer":
        shape = config.get("batch_shape") or config["batch_input_shape"]
        config = {"name": config["name"], "batch_shape": [None, *shape[1:]], "sparse": config.get("sparse")}
    else:
        kind, config = _renamed(kind, config)
        if major < 3 and config.get("activation") == "hard_sigmoid":
            config["activation"] = "legacy_hard_sigmoid"
    config["dtype"] = _dtype(layer["config"].get("dtype"))
    return {
        "module": layer.get("module", "keras.layers"),
        "registered_name": layer.get("registered_name"),
        "class_name": kind,
        "config": config,
        "inbound_nodes": nodes,
    }


def _renamed(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A layer's class and options in Keras 3's words; those that it does not know stay, and are refused later."""
    kind = _CLASSES.get(kind, kind)
    config = {_RENAMED.get(k, k): v for k, v in config.items() if k not in _DROPPED}
    if kind == "Merge":
        kind = _MERGES.get(config.pop("mode", None), kind)
        if kind != "Concatenate":
            config.pop("axis", None)
        for key in ("mode_type", "dot_axes", "output_shape", "output_shape_type", "output_mask_type", "arguments"):
            config.pop(key, None)
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "dim_ordering" in config:
        ordering = config.pop("dim_ordering")
        config["data_format"] = {"tf": "channels_last", "th": "channels_first"}.get(ordering, ordering)
    if kind == "BatchNormalization":
        config = {"center": True, "scale": True, **config}  # which Keras 1 could not leave out
        if config.get("mode") == 0:
            config.pop("mode")
    if kind == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    if kind == "DepthwiseConv2D" and config.get("groups") == 1:
        config.pop("groups")
    if kind in ("ZeroPadding2D", "Cropping2D"):
        key = "padding" if kind == "ZeroPadding2D" else "cropping"
        config[key] = [side if isinstance(side, list) else [side, side] for side in config[key]]
    return kind, config


def _dtype(written: Any) -> Any:
    """``float32`` where none is written; the policies of Keras 2 by their name."""
    if isinstance(written, Mapping) and written.get("class_name") == "Policy":
        return written["config"]["name"]
    return written or "float32"


def _node(node: Any) -> Any:
    """A call of a layer: lists of (layer, node, tensor, further arguments) as the dictionary that Keras 3 writes."""
    if isinstance(node, Mapping):
        return node
    calls: Sequence[Any] = [node] if node and isinstance(node[0], str) else node
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": list(call[:3])}} for call in calls]
    further = {key: value for call in calls for key, value in (call[3] if len(call) > 3 else {}).items()}
    return {"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": further}
