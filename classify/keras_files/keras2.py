"""Configurations of Keras 1 and 2 in the words of Keras 3: options changed their names, calls of layers their form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import Untranslatable


def is_model(layer: Mapping[str, Any]) -> bool:
    """Whether a layer's configuration is that of a model of Keras' own."""
    ours = str(layer.get("module", "")).split(".")[0] == "keras" and layer.get("registered_name") in (
        None,
        "Functional",
        "Sequential",
    )
    return ours and layer["class_name"] in ("Functional", "Sequential")


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


def in_keras3_words(model: Mapping[str, Any], major: int) -> dict[str, Any]:
    """A model's configuration as Keras 3 would write it.

    Args:
        model: as it is written, with ``class_name`` and ``config``.
        major: of the Keras that wrote it.

    Raises:
        Untranslatable: neither a Functional nor a Sequential model.
    """
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
    config = _counted_from_zero({**config, "layers": [_layer(layer, major) for layer in config["layers"]]})
    return {"module": "keras", "class_name": "Functional", "config": config}


def _layer(layer: Mapping[str, Any], major: int) -> dict[str, Any]:
    nodes = [_node(node) for node in layer.get("inbound_nodes", ())]
    if layer["class_name"] in ("Sequential", "Model", "Functional"):
        model = in_keras3_words(layer, major)
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


def _counted_from_zero(config: dict[str, Any]) -> dict[str, Any]:
    """A Functional model in which every call of a layer has its place in the layer's ``inbound_nodes`` as its number.

    Keras 2 counts the calls of a model inside another from 1, because the model's own making is its call 0, and leaves
    that one out of the file.
    """
    histories = [
        tensor["config"]["keras_history"]
        for layer in config["layers"]
        for node in layer["inbound_nodes"]
        for given in node["args"]
        for tensor in (given if isinstance(given, list) else [given])
        if isinstance(tensor, Mapping) and "keras_history" in tensor.get("config", {})
    ]
    outputs = config["output_layers"]
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    one = len(outputs) == 3 and isinstance(outputs[0], str)
    outputs = [list(output) for output in ([outputs] if one else outputs)]
    calls = {layer["config"].get("name"): len(layer["inbound_nodes"]) for layer in config["layers"] if is_model(layer)}
    for name, count in calls.items():
        uses = [used for used in (*histories, *outputs) if used[0] == name]
        if count and max((used[1] for used in uses), default=0) == count:
            for used in uses:
                used[1] -= 1
    return {**config, "output_layers": outputs[0] if one else outputs}
