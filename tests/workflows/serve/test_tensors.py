"""Requests and answers as text, without a server."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("simdjson", reason="pip install 'fergan[serve]' to run this test")

from fergan.workflows.serve.bodies import _general, _regular, parse_predict
from fergan.workflows.serve.refusal import Refusal
from fergan.workflows.serve.tensors import Signature, TensorInfo, columns_text, rows_text
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def signature(**inputs: TensorInfo) -> Signature:
    return Signature(inputs, {}, lambda tensors: tensors)


PIXELS = signature(x=TensorInfo("DT_FLOAT", (None, 2, 3), "x:0"))


@given(
    values=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.just(2), st.just(3)), elements=st.floats(0, 1e6, width=32)
    ),
    spaces=st.sampled_from([(",", ":"), (" , ", " : "), (",\n", ": ")]),
    key=st.sampled_from(["instances", "inputs"]),
)
def test_the_quick_way_reads_as_the_general_one(values: np.ndarray, spaces: tuple[str, str], key: str) -> None:
    body = json.dumps({key: values.tolist(), "signature_name": "s"}, separators=spaces).encode()
    quick = _regular(body, lambda name: PIXELS)
    slow = _general(body, lambda name: PIXELS, 1000)
    assert quick is not None
    np.testing.assert_array_equal(quick.inputs["x"], slow.inputs["x"])
    np.testing.assert_array_equal(quick.inputs["x"], values)
    assert quick.by_row == slow.by_row == (key == "instances")


@pytest.mark.parametrize(
    "lists",
    ["[[[1,2],[3,4],[5,6]]]", "[[[1,2,3,4,5,6]]]", "[[[1,2,3],[4,5],[6]]]", "[1,2,3,4,5,6]", "[[[1,2,3],[4,5,6],[]]]"],
)
def test_as_many_numbers_in_other_lists_are_refused(lists: str) -> None:
    with pytest.raises(Refusal):
        parse_predict(f'{{"instances": {lists}}}'.encode(), lambda name: PIXELS, 1000)


def test_of_keys_that_are_there_twice_the_first_counts() -> None:
    body = b'{"inputs": [[[1,2,3],[4,5,6]]], "inputs": 5}'
    request = parse_predict(body, lambda name: PIXELS, 1000)
    assert request.inputs["x"].tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_too_many_values_for_the_general_way() -> None:
    with pytest.raises(Refusal) as refused:
        parse_predict(b'{"instances": [' + b"[]," * 2000 + b"[]]}", lambda name: PIXELS, 1000)
    assert refused.value.status == 413


def test_several_inputs_of_several_types() -> None:
    several = signature(
        a=TensorInfo("DT_INT32", None, ""), s=TensorInfo("DT_STRING", None, ""), b=TensorInfo("DT_BOOL", None, "")
    )
    body = b'{"instances": [{"a": [1, 2], "s": "hi", "b": true}, {"a": [3, 4], "s": {"b64": "aG8="}, "b": false}]}'
    inputs = parse_predict(body, lambda name: several, 1000).inputs
    assert inputs["a"].tolist() == [[1, 2], [3, 4]]
    assert inputs["s"].tolist() == [b"hi", b"ho"]
    assert inputs["b"].tolist() == [True, False]
    with pytest.raises(Refusal, match="'instances' must be a list of objects with the keys a,b,s"):
        parse_predict(b'{"instances": [1]}', lambda name: several, 1000)
    with pytest.raises(Refusal, match="'inputs' must be an object with the keys a,b,s"):
        parse_predict(b'{"inputs": [1]}', lambda name: several, 1000)
    with pytest.raises(Refusal, match="not of expected type: int32"):
        parse_predict(b'{"inputs": {"a": 1.5, "s": "", "b": true}}', lambda name: several, 1000)


def test_floats_round_trip_and_keep_their_point() -> None:
    values = np.float32([0.1, 3, 999999, 1e-5, 1e30, np.nan, np.inf, -np.inf])
    text = rows_text({"y": values}).decode()
    assert text == ('{\n    "predictions": [0.1, 3.0, 999999.0, 1e-05, 1e+30, NaN, Infinity, -Infinity\n    ]\n}')
    finite = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(np.float32(json.loads(rows_text({"y": finite}))["predictions"]), finite)


def test_several_outputs_become_objects() -> None:
    outputs = {"n": np.int32([[1, 2], [3, 4]]), "t_bytes": np.array([b"hello", b"tf"], object)}
    rows = [{"n": [1, 2], "t_bytes": {"b64": "aGVsbG8="}}, {"n": [3, 4], "t_bytes": {"b64": "dGY="}}]
    assert json.loads(rows_text(outputs)) == {"predictions": rows}
    columns = {"n": [[1, 2], [3, 4]], "t_bytes": [{"b64": "aGVsbG8="}, {"b64": "dGY="}]}
    assert json.loads(columns_text(outputs)) == {"outputs": columns}
    with pytest.raises(Refusal, match="inconsistent batch size"):
        rows_text({"a": np.zeros(2), "b": np.zeros(3)})


@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3), elements=st.integers(0, 9))
)
def test_any_shape_is_written(array: np.ndarray) -> None:
    assert json.loads(rows_text({"y": array}))["predictions"] == array.tolist()
    assert json.loads(columns_text({"y": array}))["outputs"] == array.tolist()
