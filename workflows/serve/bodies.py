"""From the body of a predict, classify or regress request to arrays, with TensorFlow Serving's rules and messages.

There are two ways. Bodies of nothing but one regular array of numbers, which is what clients send, are read by simdjson
in under a millisecond for 16 faces. All others, and those in which anything is wrong, go through Python's parser, whose
result is walked through as TensorFlow Serving does it, so that the message says the same.
"""

from __future__ import annotations

import base64
import binascii
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
_MAX_RANK = 32
"""Dimensions that numpy's arrays may have, in all its versions."""
_NOT_LISTS = bytes(set(range(256)) - set(b"[],"))
_PARSE_ERRORS = (  # Python's parser and RapidJSON's
    ("Expecting value", "Invalid value."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma before end of object", "Missing a name for object member."),
    ("Illegal trailing comma before end of array", "Invalid value."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Extra data", "The document root must not be followed by other values."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid control character", "Invalid encoding in string."),
    ("Invalid \\uXXXX", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
)


@dataclass(frozen=True)
class PredictRequest:
    """What a client wants to know.

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
        Refusal: with the message of TensorFlow Serving.
    """
    request = _regular(body, lookup) or _general(body, lookup, max_values)
    for key, array in request.inputs.items():
        request.signature.inputs[key].check(key, array)
    return request


def parse_examples(body: bytes, max_values: int) -> str:
    """Read the body of a ``:classify`` or ``:regress`` request.

    Returns:
        The signature's name, "" for none. The examples themselves are checked and dropped: no model takes them.

    Raises:
        Refusal: with the message of TensorFlow Serving.
    """
    with _bounded_recursion():
        document = _document(body, max_values)
        name = _signature_name(document)
        if "context" in document:
            _check_example(document["context"])
        if "examples" not in document:
            raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
        examples = document["examples"]
        if not isinstance(examples, list):
            raise _format_error(document, "Expecting 'examples' value to be an list/array")
        if not examples:
            raise _format_error(document, "'examples' value is an empty array")
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
    """What is left of an array in JSON without its numbers."""
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
            raise _format_error(
                document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        if "instances" in document:
            instances = document["instances"]
            if not isinstance(instances, list):
                raise _format_error(document, "Expecting 'instances' to be an list/array")
            if not instances:
                raise _format_error(document, "No values in 'instances' array")
            inputs = _from_instances(instances, signature.inputs)
        elif "inputs" in document:
            inputs = _from_inputs(document["inputs"], signature.inputs)
        else:
            raise Refusal("Missing 'inputs' or 'instances' key")
    if b"Infinity" not in body and any(array.dtype.kind == "f" and np.isinf(array).any() for array in inputs.values()):
        raise Refusal("JSON Parse error: Number too big to be stored in double.")
    return PredictRequest(signature, inputs, "instances" in document)


@contextmanager
def _bounded_recursion() -> Iterator[None]:
    """Deep nesting is bad input, not a fault of the server."""
    try:
        yield
    except RecursionError as error:
        raise Refusal("JSON Parse error: Terminate parsing due to lists or objects nested too deeply.") from error


def _document(body: bytes, max_values: int) -> dict[str, Any]:
    """The JSON object of a body; of keys that are there twice the first counts, as in RapidJSON."""
    if not body.strip(b" \t\r\n"):
        raise Refusal("JSON Parse error: The document is empty")
    values = body.count(b"[") + body.count(b"{") + body.count(b'"') // 2
    if values > max_values:
        raise Refusal(
            f"The request holds {values} lists, objects and strings; the limit is {max_values}. Send fewer rows, "
            "or one regular array of finite numbers",
            "RESOURCE_EXHAUSTED",
            status=413,
        )
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        document = json.loads(text, object_pairs_hook=_first_of_each)
    except json.JSONDecodeError as error:
        raise Refusal(f"JSON Parse error: {_parse_error(error, text)} at offset: {error.pos}") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise Refusal("JSON Parse error: Number too big to be stored in double.") from error
    if not isinstance(document, dict):
        raise _format_error(document, "Is not object")
    return document


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _parse_error(error: json.JSONDecodeError, text: str) -> str:
    for python, rapidjson in _PARSE_ERRORS:
        if error.msg.startswith(python):
            return rapidjson
    # "Expecting ',' delimiter": Python does not say of what
    in_list, depth = False, 0
    for bracket in reversed(re.sub(r'"(\\.|[^"\\])*"', "", text[: error.pos])):
        depth += {"]": 1, "}": 1, "[": -1, "{": -1}.get(bracket, 0)
        if depth < 0:
            in_list = bracket == "["
            break
    if in_list:
        return "Missing a comma or ] after an array element."
    return "Missing a comma or } after an object member."


def _signature_name(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def _from_instances(instances: list[Any], infos: Mapping[str, TensorInfo]) -> Tensors:
    first = instances[0]
    if not isinstance(first, dict) and len(infos) > 1:
        raise Refusal(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    if not _is_named(first):
        ((key, info),) = infos.items()
        if not any(map(_is_named, instances)):
            array = _quick(instances, info.dtype)
            if array is not None:
                return {key: array}
    elif all(_is_named(item) and item.keys() == infos.keys() for item in instances):
        arrays = {key: _quick([item[key] for item in instances], info.dtype) for key, info in infos.items()}
        if all(array is not None for array in arrays.values()):
            return {key: array for key, array in arrays.items() if array is not None}
    return _one_by_one(instances, infos)


def _one_by_one(instances: list[Any], infos: Mapping[str, TensorInfo]) -> Tensors:
    """Row after row, so that the first thing that is wrong is named with its place."""
    named = _is_named(instances[0])
    columns = {key: _Column(key, info.dtype) for key, info in infos.items()}
    for index, item in enumerate(instances):
        if named != _is_named(item):
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise Refusal(f"Expecting {expected} but got {got} at item {index} of input list")
        for key, value in item.items() if named else [(next(iter(infos)), item)]:
            try:
                if key not in columns:
                    raise Refusal(f"JSON object: does not have named input: {key}")
                columns[key].add(value)
            except Refusal as refusal:
                which = f" key: {key}" if named else ""
                raise Refusal(
                    f"Failed to process element: {index}{which} of 'instances' list. Error: {refusal}"
                ) from refusal
        if named and item.keys() != infos.keys():
            raise Refusal(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_echo(item)} "
                f"keys must be equal to: {','.join(sorted(infos))}"
            )
    return {key: column.array() for key, column in columns.items()}


class _Column:
    """The rows of one input."""

    def __init__(self, key: str, dtype: str) -> None:
        self.key, self.dtype = key, dtype
        self.rows: list[np.ndarray] = []

    def add(self, value: Any) -> None:
        row = _walked(value, self.dtype)
        first = self.rows[0] if self.rows else row
        if row.size != first.size:
            raise Refusal(f"Expecting tensor size: {first.size} but got: {row.size}")
        if row.shape != first.shape:
            raise Refusal(f"Expecting shape {_shape_text(first.shape)} but got: {_shape_text(row.shape)}")
        self.rows.append(row)

    def array(self) -> np.ndarray:
        return np.stack(self.rows)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _from_inputs(value: Any, infos: Mapping[str, TensorInfo]) -> Tensors:
    if not _is_named(value):
        if len(infos) > 1:
            raise Refusal(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((key, info),) = infos.items()
        return {key: _tensor(value, info.dtype)}
    arrays = {}
    for key, info in infos.items():
        if key not in value:
            raise Refusal(f"Missing named input: {key} in 'inputs' object.")
        arrays[key] = _tensor(value[key], info.dtype)
    return arrays


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    """Whether it names inputs: an object, unless it stands for bytes."""
    return isinstance(value, dict) and not _is_base64(value)


def _tensor(value: Any, dtype: str) -> np.ndarray:
    array = _quick(value, dtype)
    return _walked(value, dtype) if array is None else array


def _quick(value: Any, dtype: str) -> np.ndarray | None:
    """An array of a regular list of numbers, or None where anything calls for a closer look."""
    if dtype not in _FLOATS:
        return None
    shape = _dense_shape(value)
    level = [value]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        level = list(chain.from_iterable(level))
    if not set(map(type, level)) <= {int, float}:
        return None
    try:
        array = np.array(level, np.float64)
    except OverflowError:
        return None
    if np.any(np.isfinite(array) & (np.abs(array) > _FLOATS[dtype])):
        return None
    return array.astype(NUMPY[dtype]).reshape(shape)


def _dense_shape(value: Any) -> tuple[int, ...]:
    """Sizes along the first elements."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MAX_RANK:
            raise Refusal(f"Lists are nested more than {_MAX_RANK} levels deep")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _walked(value: Any, dtype: str) -> np.ndarray:
    shape = _dense_shape(value)
    values: list[Any] = []
    _walk(value, 0, shape, dtype, values)
    array: np.ndarray = np.empty(len(values), NUMPY[dtype])
    array[:] = values
    return array.reshape(shape)


def _walk(value: Any, level: int, shape: Sequence[int], dtype: str, values: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise Refusal(
                f"JSON Value: {_echo(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        values.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise Refusal(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise Refusal(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _walk(item, level + 1, shape, dtype, values)


def _scalar(value: Any, dtype: str) -> Any:
    """One value, as numpy takes it for ``dtype``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _FLOATS:
        if not number:
            raise _type_error(value, dtype)
        return _float(value, dtype)
    if dtype == "DT_STRING":
        return _bytes(value)
    if dtype == "DT_BOOL":
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if dtype not in NUMPY:
        raise Refusal(f"Conversion of JSON Value: {_echo(value)} to type: {_type_name(dtype)}", "UNIMPLEMENTED")
    limits = np.iinfo(NUMPY[dtype])
    if not number or isinstance(value, float) or not limits.min <= value <= limits.max:
        raise _type_error(value, dtype)
    return value


def _float(value: int | float, dtype: str) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        return value
    largest = _FLOATS[dtype] if isinstance(value, int) else float(np.finfo(NUMPY[dtype]).max)
    if abs(value) > largest:
        raise Refusal(f"Cannot convert JSON value: {_echo(value)} to {_type_name(dtype)} without loss of precision.")
    return float(value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, dict):
        raise _type_error(value, "DT_STRING")
    if not _is_base64(value):
        raise Refusal(f"JSON Value: {_echo(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("Unable to base64 decode") from error


def _type_name(dtype: str) -> str:
    return dtype.removeprefix("DT_").lower()


def _type_error(value: Any, dtype: str) -> Refusal:
    kind = _type_name(dtype)
    return Refusal(f"JSON Value: {_echo(value)} Type: {_kind(value)} is not of expected type: {kind}")


def _kind(value: Any) -> str:
    """RapidJSON's name for a type."""
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return str(value) if isinstance(value, bool) else names[type(value)]


def _format_error(value: Any, text: str) -> Refusal:
    return Refusal(f"JSON Value: {_echo(value)} {text}")


def _echo(value: Any) -> str:
    """The value as JSON, the beginning of it where it is long."""
    text = ""
    for piece in json.JSONEncoder(indent=4, ensure_ascii=True).iterencode(value):
        text += piece
        if len(text) > _ECHO:
            return text[:_ECHO] + "..."
    return text


def _check_example(value: Any) -> None:
    """Refuse what is no ``tf.Example``: an object of features, each a value or a list of values of one type."""
    if not isinstance(value, dict):
        raise Refusal(f"Example must be JSON object but got JSON {_kind(value)}")
    for name, content in value.items():
        kinds = set()
        for item in content if isinstance(content, list) else [content]:
            if item is None or isinstance(item, list) or _is_named(item):
                raise Refusal(f"Feature: {name} has element with unexpected JSON type: {_kind(item)}")
            kinds.add("bytes" if isinstance(item, str | dict) else "float" if isinstance(item, float) else "int64")
        if len(kinds) > 1:
            raise Refusal(f"Unexpected element type in feature: {name} expecting type: {sorted(kinds)[0]}")
