"""Small ONNX networks that say what they see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LABELS = ("angry", "happy", "neutral", "sad")
PLACES = ((0, 0, 0), (0, 5, 7), (-1, 9, 2), (-1, -1, -1))
"""(channel, row, column) of the pixels that a probe gives out as its logits."""


def probe(
    path: Path,
    shape: Sequence[int | str],
    *,
    channels_last: bool = False,
    dtype: str = "FLOAT",
    valence: bool = False,
    breaks_at: float | None = None,
    card: dict[str, Any] | None = None,
) -> Path:
    """A network whose logits are four pixels of its input.

    Args:
        path: of the file to write.
        shape: of the input: [N, C, H, W], or [N, H, W, C] with ``channels_last``; names for what is open.
        channels_last: as it says.
        dtype: ``FLOAT`` or ``UINT8``.
        breaks_at: the value of the first pixel at which the network says infinity.
        valence: whether a second output [N, 2] comes before the expressions.
        card: more of ``NAME.json``.
    """
    onnx = pytest.importorskip("onnx", reason="pip install 'fergan[onnx]' to run this test")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Cast", ["face"], ["float"], to=TensorProto.FLOAT)]
    axes = [3, 1, 2] if channels_last else [1, 2, 3]
    stored = [numpy_helper.from_array(np.array(axes), "axes")]
    for number, place in enumerate(PLACES):
        ends = [value + 1 if value != -1 else np.iinfo(np.int64).max for value in place]
        stored += [
            numpy_helper.from_array(np.array(place), f"from{number}"),
            numpy_helper.from_array(np.array(ends), f"to{number}"),
        ]
        nodes.append(helper.make_node("Slice", ["float", f"from{number}", f"to{number}", "axes"], [f"pixel{number}"]))
        nodes.append(helper.make_node("Flatten", [f"pixel{number}"], [f"value{number}"]))
    if breaks_at is not None:
        stored += [numpy_helper.from_array(np.float32(value), name) for name, value in (("at", breaks_at), ("one", 1))]
        nodes[-2 * len(PLACES) + 1].output[0] = "whole"  # the first pixel, before it is turned into its logit
        nodes.append(helper.make_node("Sub", ["whole", "at"], ["off"]))
        nodes.append(helper.make_node("Div", ["one", "off"], ["value0"]))
    nodes.append(helper.make_node("Concat", [f"value{n}" for n in range(len(PLACES))], ["logits"], axis=1))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], len(PLACES)])]
    if valence:
        nodes.append(helper.make_node("Concat", ["value0", "value1"], ["valence"], axis=1))
        outputs.insert(0, helper.make_tensor_value_info("valence", TensorProto.FLOAT, [shape[0], 2]))
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("face", getattr(TensorProto, dtype), list(shape))],
        outputs,
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save_model(model, path)
    known = {"labels": LABELS, "input_range": [0, 1], "outputs": "logits", **(card or {})}
    path.with_suffix(".json").write_text(json.dumps({key: value for key, value in known.items() if value is not None}))
    return path


def said(pixels: np.ndarray) -> np.ndarray:
    """What a probe says of faces [N, H, W, C], as probabilities float64 [N, 4]."""
    logits = np.stack([pixels[:, row, column, channel] for channel, row, column in PLACES], axis=1).astype(np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
