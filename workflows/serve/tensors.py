"""The tensors of a model's signatures, and their values as JSON text.

The layout of the text (indents, lists of one row on one line) is that of TensorFlow Serving, which writes with
RapidJSON's PrettyWriter.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .refusal import Refusal

NUMPY = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_HALF": np.float16,
    "DT_INT8": np.int8,
    "DT_INT16": np.int16,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT16": np.uint16,
    "DT_UINT32": np.uint32,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
    "DT_STRING": np.object_,
}
"""Data types by the names of TensorFlow's ``DataType``; strings are arrays of ``bytes``."""

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a signature.

    Attributes:
        dtype: a key of :data:`NUMPY`, or another of TensorFlow's names.
        shape: with the batch; None for a size that is open. None where even the rank is.
        name: in TensorFlow's graph.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    name: str

    def check(self, key: str, array: np.ndarray) -> None:
        """Refuse an array of another shape."""
        if self.shape is None:
            return
        fits = array.ndim == len(self.shape)
        fits = fits and all(want in (None, size) for want, size in zip(self.shape, array.shape, strict=True))
        if not fits:
            raise Refusal(
                f'Input "{key}" has the shape {_sizes(array.shape)}, but the signature wants {_sizes(self.shape)}'
            )

    def as_proto(self) -> dict[str, Any]:
        """A ``TensorInfo`` message in JSON."""
        sizes = () if self.shape is None else self.shape
        dims = [{"size": "-1" if size is None else str(size), "name": ""} for size in sizes]
        shape = {"dim": dims, "unknown_rank": self.shape is None}
        return {"dtype": self.dtype, "tensor_shape": shape, "name": self.name}


@dataclass(frozen=True)
class Signature:
    """One way to call a model.

    Attributes:
        inputs, outputs: by key.
        run: from arrays of the inputs to arrays of the outputs; called from another thread.
        batched: rows are independent, so that those of several requests may be run together.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    run: Callable[[Tensors], Tensors] = field(repr=False)
    batched: bool = True

    method = "tensorflow/serving/predict"

    def as_proto(self) -> dict[str, Any]:
        """A ``SignatureDef`` message in JSON."""
        return {
            "inputs": {key: info.as_proto() for key, info in self.inputs.items()},
            "outputs": {key: info.as_proto() for key, info in self.outputs.items()},
            "method_name": self.method,
            "defaults": {},
        }


def _sizes(shape: Sequence[int | None]) -> str:
    return "[" + ",".join("-1" if size is None else str(size) for size in shape) + "]"


def rows_text(outputs: Tensors) -> bytes:
    """``{"predictions": [...]}``: a list with an item for each row; objects where there are several outputs.

    Raises:
        Refusal: an output has no rows, or another number of them.
    """
    count = None
    for key, array in outputs.items():
        if array.ndim == 0:
            raise Refusal(f"Tensor name: {key} has no shape information ")
        if count not in (None, len(array)):
            raise Refusal(f"Tensor name: {key} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)
    texts = {key: _rows(array, _tokens(key, array)) for key, array in outputs.items()}
    if len(texts) == 1:
        (items,) = texts.values()
        body = f"[{', '.join(items)}\n    ]" if items else "[]"
    else:
        objects = [
            "{\n" + ",\n".join(f"            {json.dumps(key)}: {text}" for key, text in zip(texts, row, strict=True))
            for row in zip(*texts.values(), strict=True)
        ]
        body = "[\n        " + "\n        },\n        ".join(objects) + "\n        }\n    ]" if objects else "[]"
    return f'{{\n    "predictions": {body}\n}}'.encode()


def columns_text(outputs: Tensors) -> bytes:
    """``{"outputs": ...}``: the whole arrays; an object of them where there are several outputs."""
    named = len(outputs) > 1
    texts = {key: _spread(array, _tokens(key, array), 8 if named else 4) for key, array in outputs.items()}
    if named:
        body = "{\n" + ",\n".join(f"        {json.dumps(key)}: {text}" for key, text in texts.items()) + "\n    }"
    else:
        (body,) = texts.values()
    return f'{{\n    "outputs": {body}\n}}'.encode()


def _rows(array: np.ndarray, tokens: list[str]) -> list[str]:
    """Each row on one line."""
    items = tokens
    for axis in range(array.ndim - 1, 0, -1):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        items = ["[" + ", ".join(items[i * size : (i + 1) * size]) + "]" for i in range(count)]
    return items


def _spread(array: np.ndarray, tokens: list[str], indent: int) -> str:
    """One value a line."""
    if array.ndim == 0:
        return tokens[0]
    if array.size == 0:
        return json.dumps(array.tolist(), indent=4).replace("\n", "\n" + " " * indent)
    items = tokens
    for axis in reversed(range(array.ndim)):
        size, inner, outer = array.shape[axis], " " * (indent + 4 * axis + 4), " " * (indent + 4 * axis)
        items = [
            f"[\n{inner}" + f",\n{inner}".join(items[i : i + size]) + f"\n{outer}]" for i in range(0, len(items), size)
        ]
    return items[0]


def _tokens(key: str, array: np.ndarray) -> list[str]:
    """The values as JSON: the shortest text that gives the same number, with a point or exponent in floats."""
    flat = array.ravel()
    if array.dtype.kind == "f":
        texts = list(map(str, flat))
        if np.isfinite(flat).all():
            return texts
        return [{"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text) for text in texts]
    if array.dtype.kind in "iu":
        return list(map(str, flat))
    if array.dtype.kind == "b":
        return ["true" if value else "false" for value in flat]
    if array.dtype.kind == "O":
        if key.endswith("_bytes"):
            return [json.dumps({"b64": base64.b64encode(value).decode()}) for value in flat]
        return [json.dumps(bytes(value).decode("utf-8", "replace"), ensure_ascii=False) for value in flat]
    raise Refusal(f"Failed to write JSON value for tensor type: {array.dtype}")
