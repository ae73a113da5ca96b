"""From the body of a predict, classify or regress request to arrays, with TensorFlow Serving's rules.

There are two ways. Bodies of nothing but one regular array of numbers, which is what clients send, are read by simdjson
in under a millisecond for 16 faces. All others, and those in which anything is wrong, go through Python's parser, whose
result is walked through row after row, so that the message says what is wrong and where.
"""

from __future__ import annotations

import base64
import binascii
import gc
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import simdjson

from .refusal import Refusal
from .tensors import NUMPY, Signature, TensorInfo, Tensors

Lookup = Callable[[str], Signature]
"""From a signature's name, "" for none, to the signature; or a refusal."""

_ECHO = 1000
"""Characters of a value that a message repeats."""
_FLOATS = {"DT_FLOAT": 2**24 - 1, "DT_DOUBLE": 2**53 - 1, "DT_HALF": 2**24 - 1}
"""The largest integer of which a float type also holds all smaller ones (TensorFlow Serving takes half as float)."""
_JSON_TYPES: dict[str, set[type]] = {"DT_STRING": {str, dict}, "DT_BOOL": {bool}}
_MAX_RANK = 32
"""Dimensions that numpy's arrays may have, in all its versions."""
_NOT_LISTS = bytes(set(range(256)) - set(b"[],"))


@dataclass(frozen=True)
class PredictRequest:
    """A parsed ``:predict`` request.

    Attributes:
        signature: that it named, or the default one.
        inputs: an array for each input.
        by_row: answer a list of rows (``instances``), not arrays by output (``inputs``).
    """

    signature: Signature
    inputs: Tensors
    by_row: bool


def parse_predict(body: bytes, lookup: Lookup, max_values: int) -> PredictRequest:
    """Read the body of a ``:predict`` request.

    Args:
        body: JSON, unpacked.
        lookup: finds signatures; only called when the body is JSON.
        max_values: lists, objects and strings beyond which a body is refused, unless it is one regular array.

    Raises:
        Refusal: with a status of TensorFlow Serving.
    """
    request = _regular(body, lookup) or _general(body, lookup, max_values)
    for key, array in request.inputs.items():
        request.signature.inputs[key].check(key, array)
    return request


def parse_examples(body: bytes, max_values: int) -> str:
    """The signature that the body of a ``:classify`` or ``:regress`` request names, "" for none.

    The examples themselves are checked and dropped: no model takes them.

    Raises:
        Refusal: with a status of TensorFlow Serving.
    """
    with _bounded_recursion():
        document = _document(body, max_values)
        name = _signature_name(document)
        if "context" in document:
            _check_example(document["context"])
        examples = document.get("examples")
        if not isinstance(examples, list) or not examples:
            raise Refusal("'examples' must be a list of one example or more")
        for example in examples:
            _check_example(example)
    return name


# ---------------------------------------------------------------------------------------------------------------------
# One regular array


def _regular(body: bytes, lookup: Lookup) -> PredictRequest | None:
    """The request, if it is one array of numbers for a float input; None sends it the general way."""
    try:
        document = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError):  # no JSON to simdjson, which knows no NaN
        return None
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document.keys())
    key = keys[0] if len(keys) == 1 or keys[1:] == ["signature_name"] else keys[-1] if keys else None
    if key not in ("instances", "inputs") or keys not in ([key], [key, "signature_name"], ["signature_name", key]):
        return None
    name = document["signature_name"] if len(keys) == 2 else ""
    if not isinstance(name, str) or re.search(r"[\[\],]", name):
        return None
    signature = lookup(name)
    if len(signature.inputs) != 1:
        return None
    ((tensor, info),) = signature.inputs.items()
    if info.dtype != "DT_FLOAT" or info.shape is None or None in info.shape[1:]:
        return None
    value = document[key]
    if key == "inputs" and isinstance(value, simdjson.Object) and list(value.keys()) == [tensor]:
        value = value[tensor]
    if not isinstance(value, simdjson.Array) or re.search(r"[\[\],]", tensor):
        return None
    try:
        flat = np.frombuffer(value.as_buffer(of_type="d"), np.float64)
    except (TypeError, ValueError):  # other things than numbers
        return None
    shape = tuple(size for size in info.shape[1:] if size is not None)
    row = math.prod(shape)
    if not row or not flat.size or flat.size % row or np.abs(flat).max() > _FLOATS["DT_FLOAT"]:
        return None
    count = flat.size // row
    if body.translate(None, _NOT_LISTS).strip(b",") != b"[" + b",".join([_skeleton(shape)] * count) + b"]":
        return None  # as many numbers, but in other lists
    array = flat.astype(np.float32).reshape(count, *shape)
    return PredictRequest(signature, {tensor: array}, key == "instances")


@lru_cache(maxsize=64)
def _skeleton(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas of an array in JSON, without its numbers."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text


# ---------------------------------------------------------------------------------------------------------------------
# Everything else


def _general(body: bytes, lookup: Lookup, max_values: int) -> PredictRequest:
    with _bounded_recursion():
        document = _document(body, max_values)
        signature = lookup(_signature_name(document))
        if "instances" in document and "inputs" in document:
            raise Refusal("Only one of the keys 'inputs' and 'instances' may be there")
        if "instances" in document:
            instances = document["instances"]
            if not isinstance(instances, list) or not instances:
                raise Refusal("'instances' must be a list of one row or more")
            inputs = _from_instances(instances, signature.inputs)
        elif "inputs" in document:
            inputs = _from_inputs(document["inputs"], signature.inputs)
        else:
            raise Refusal("Missing 'inputs' or 'instances' key")
    if b"Infinity" not in body and any(array.dtype.kind == "f" and np.isinf(array).any() for array in inputs.values()):
        raise Refusal("JSON Parse error: a number is too large for a double")
    return PredictRequest(signature, inputs, "instances" in document)


@contextmanager
def _bounded_recursion() -> Iterator[None]:
    """Deep nesting is bad input, not a fault of the server."""
    try:
        yield
    except RecursionError as error:
        raise Refusal("JSON Parse error: lists or objects are nested too deeply") from error


def _document(body: bytes, max_values: int) -> dict[str, Any]:
    """The JSON object of a body; of keys that are there twice the first counts, as in RapidJSON."""
    if not body.strip(b" \t\r\n"):
        raise Refusal("JSON Parse error: The document is empty")
    values = body.count(b"[") + body.count(b"{") + body.count(b'"') // 2 + body.count(b",") // 4
    if values > max_values:
        raise Refusal(
            f"The request holds {values} lists, objects, strings and fours of values; the limit is {max_values}. "
            "Send fewer rows, or one regular array of finite numbers",
            "RESOURCE_EXHAUSTED",
            status=413,
        )
    collected = gc.isenabled()
    gc.disable()  # JSON has no cycles; to look for some among so many lists takes ten times as long as to make them
    try:
        text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        document = json.loads(text, object_pairs_hook=_first_of_each)
    except json.JSONDecodeError as error:
        raise Refusal(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise Refusal("JSON Parse error: a number is too large for a double") from error
    finally:
        if collected:
            gc.enable()
    if not isinstance(document, dict):
        raise Refusal("The body must be a JSON object")
    return document


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _signature_name(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise Refusal("'signature_name' must be a string")
    return name


def _from_instances(instances: list[Any], infos: Mapping[str, TensorInfo]) -> Tensors:
    named = _is_named(instances[0])
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise Refusal(f"'instances' must be a list of objects with the keys {','.join(sorted(infos))}")
    for index, item in enumerate(instances):
        if named != _is_named(item):
            raise Refusal(f"Item {index} of 'instances' must be {'an object' if named else 'a value or a list'}")
        if named and item.keys() != infos.keys():
            raise Refusal(f"Item {index} of 'instances' must have the keys {','.join(sorted(infos))} and no others")
    if not named:
        ((key, info),) = infos.items()
        return {key: _tensor(instances, info.dtype)}
    return {key: _tensor([item[key] for item in instances], info.dtype) for key, info in infos.items()}


def _from_inputs(value: Any, infos: Mapping[str, TensorInfo]) -> Tensors:
    if not _is_named(value):
        if len(infos) > 1:
            raise Refusal(f"'inputs' must be an object with the keys {','.join(sorted(infos))}")
        ((key, info),) = infos.items()
        return {key: _tensor(value, info.dtype)}
    for key in infos:
        if key not in value:
            raise Refusal(f"'inputs' must have the key {key}")
    return {key: _tensor(value[key], info.dtype) for key, info in infos.items()}


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    """Whether it names inputs: an object, unless it stands for bytes."""
    return isinstance(value, dict) and not _is_base64(value)


def _tensor(value: Any, dtype: str) -> np.ndarray:
    """A value, or lists of one shape, as an array."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        size = len(level[0])
        for index, item in enumerate(level):
            if not isinstance(item, list) or len(item) != size:
                found = f"one of {len(item)}" if isinstance(item, list) else "another value"
                raise Refusal(f"There must be a list of {size} at {_place(index, shape)}, where {found} is")
        shape.append(size)
        if len(shape) > _MAX_RANK:
            raise Refusal(f"Lists are nested more than {_MAX_RANK} levels deep")
        level = list(chain.from_iterable(level))
    return _converted(level, dtype, shape).reshape(shape)


def _place(index: int, shape: Sequence[int]) -> str:
    """Where a value stands: ``[row][column]``; "the top" for one alone."""
    return "".join(f"[{i}]" for i in np.unravel_index(index, shape)) if shape else "the top"


def _converted(values: list[Any], dtype: str, shape: Sequence[int]) -> np.ndarray:
    """JSON's values as an array of ``dtype``; ``shape`` tells their places."""
    if dtype not in NUMPY:
        raise Refusal(f"Values of type {_type_name(dtype)} cannot come as JSON", "UNIMPLEMENTED")
    wanted = _JSON_TYPES.get(dtype, {int, float} if dtype in _FLOATS else {int})
    if not set(map(type, values)) <= wanted:
        index = next(index for index, value in enumerate(values) if type(value) not in wanted)
        raise Refusal(f"{_echo(values[index])} at {_place(index, shape)} is not of expected type: {_type_name(dtype)}")
    if dtype == "DT_STRING":
        array: np.ndarray = np.empty(len(values), object)
        array[:] = [_bytes(value) for value in values]
        return array
    if dtype in _FLOATS:
        return _floats(values, dtype, shape)
    if dtype != "DT_BOOL" and values:
        limits = np.iinfo(NUMPY[dtype])
        if min(values) < limits.min or max(values) > limits.max:
            index = next(i for i, value in enumerate(values) if not limits.min <= value <= limits.max)
            raise Refusal(f"{_echo(values[index])} at {_place(index, shape)} is too large for {_type_name(dtype)}")
    return np.array(values, NUMPY[dtype])


def _floats(values: list[int | float], dtype: str, shape: Sequence[int]) -> np.ndarray:
    largest = float(np.finfo(NUMPY[dtype]).max)
    try:
        array = np.array(values, np.float64)
        suspects = np.flatnonzero(np.isfinite(array) & (np.abs(array) > _FLOATS[dtype])).tolist()
    except OverflowError:  # an integer beyond all floats
        array, suspects = np.empty(0), list(range(len(values)))
    for index in suspects:
        value = values[index]
        if abs(value) > (_FLOATS[dtype] if isinstance(value, int) else largest) and abs(value) != math.inf:
            raise Refusal(f"{_echo(value)} at {_place(index, shape)} does not fit a {_type_name(dtype)} exactly")
    return array.astype(NUMPY[dtype])


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not _is_base64(value):
        raise Refusal('An object in place of a string must be {"b64": TEXT}')
    text = re.sub(r"\s", "", value["b64"]).rstrip("=")  # line breaks and padding are the client's choice
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal('A text after "b64" is not base64') from error


def _type_name(dtype: str) -> str:
    return dtype.removeprefix("DT_").lower()


def _echo(value: Any) -> str:
    """The value as JSON, the beginning of it where it is long."""
    text = ""
    for piece in json.JSONEncoder().iterencode(value[:_ECHO] if isinstance(value, str | list) else value):
        text += piece
        if len(text) > _ECHO:
            return text[:_ECHO] + "..."
    return text


def _check_example(value: Any) -> None:
    """Refuse what is not a ``tf.Example``: an object of features, each a value or a list of values of one type."""
    if not isinstance(value, dict):
        raise Refusal("An example must be an object")
    for name, content in value.items():
        items = content if isinstance(content, list) else [content]
        kinds = {str if _is_base64(item) else int if isinstance(item, bool) else type(item) for item in items}
        if len(kinds) > 1 or not kinds <= {str, int, float}:
            raise Refusal(f"Feature {name[:_ECHO]} must be a value, or a list of values of one type")
