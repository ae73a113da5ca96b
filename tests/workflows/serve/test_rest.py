"""What TensorFlow Serving's REST API answers: its statuses and forms, and texts that say what is wrong and where."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fergan.classify.classifier import load_classifier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

PREDICT = "/v1/models/fer:predict"


@pytest.fixture(scope="module")
def client(
    serve: Callable[..., Any], small_model: Callable[[Path, float], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    base = tmp_path_factory.mktemp("models")
    small_model(base / "emotion_model.keras", 0.5)
    small_model(base / "mine" / "7" / "model.keras", 0.7)
    small_model(base / "mine" / "9" / "model.keras", 0.9)
    models = {"fer": "fernet", "emotion_model": str(base / "emotion_model.keras"), "mine": str(base / "mine")}
    with serve(models=models, workers=3, labels={("mine", "old"): 7, ("mine", "gone"): 3}) as client:
        yield client


REQUESTS: list[tuple[str, str, str, int, str]] = [
    # paths and verbs
    ("GET", "/v1/foo", "", 400, "Malformed request: GET /v1/foo"),
    ("POST", "/v1/foo", "", 400, "Malformed request: POST /v1/foo"),
    ("GET", "/v1/models", "", 200, '"name": "emotion_model"'),
    ("GET", "/v1/models/versions/1", "", 400, "Missing model name in request."),
    ("POST", "/v1/models", "", 400, "Malformed request: POST /v1/models"),
    ("GET", PREDICT, "", 400, "Malformed request: GET /v1/models/fer:predict"),
    ("PUT", PREDICT, "{}", 400, "Malformed request: PUT"),
    ("DELETE", "/v1/models/fer", "", 400, "Malformed request: DELETE"),
    ("POST", "/v1/models/fer", "{}", 400, "Malformed request: POST"),
    ("POST", "/v1/models/fer/version/50:regress", "{}", 400, "Malformed request"),
    ("POST", "/v1/models/fer/versions/HELLO:regress", "{}", 400, "Malformed request"),
    ("POST", "/v1/models/fer/versions/1/labels/x:predict", "{}", 400, "Malformed request"),
    ("POST", f"/v1/models/fer/versions/{2**64 - 1}:predict", "{}", 400, "Failed to convert version"),
    ("GET", f"/v1/models/fer/versions/{2**63}", "", 400, "Failed to convert version"),
    ("GET", "/v1/faces:analyze", "", 400, "Malformed request"),
    ("OPTIONS", "/v1/models/fer", "", 400, "Origin header"),
    ("GET", "/v2/models/fer", "", 404, "404 Not Found"),
    ("GET", "/", "", 200, 'href="/v1/models/fer/metadata"'),
    # models, versions, labels
    ("GET", "/V1/MODELS/%66er", "", 200, '"AVAILABLE"'),
    ("GET", "/v1/models/FER", "", 404, "Could not find any versions of model FER"),
    ("GET", "/v1/models/foo", "", 404, "Could not find any versions of model foo"),
    ("GET", "/v1/models/fer/versions/50", "", 404, "Could not find version 50 of model fer"),
    ("GET", "/v1/models/foo/metadata", "", 404, "Servable not found for request: Latest(foo)"),
    ("GET", "/v1/models/fer/versions/50/metadata", "", 404, "Servable not found for request: Specific(fer, 50)"),
    ("GET", "/v1/models/fer/labels/nope", "", 400, "Unrecognized servable version label: nope"),
    ("GET", "/v1/models/mine/labels/gone", "", 404, "Could not find version 3 of model mine"),
    ("GET", "/v1/models/mine/labels/o%6cd", "", 200, '"version": "7"'),
    ("POST", "/v1/models/foo:predict", '{"instances": [1]}', 404, "Servable not found for request: Latest(foo)"),
    ("POST", "/v1/models/foo/versions/50:predict", '{"instances": [1]}', 404, "Specific(foo, 50)"),
    ("POST", "/v1/models/fer/labels/x:predict", '{"instances": [1]}', 400, "Unrecognized servable version label"),
    ("POST", "/v1/models/foo:predict", "", 400, "The document is empty"),
    # JSON
    ("POST", PREDICT, "", 400, "JSON Parse error: The document is empty"),
    ("POST", PREDICT, "instances = [1, 2]", 400, "JSON Parse error: Expecting value at offset: 0"),
    ("POST", PREDICT, '{"instances": [1 2]}', 400, "JSON Parse error: Expecting ',' delimiter at offset: 17"),
    ("POST", PREDICT, '{"instances": [1] "a": 2}', 400, "JSON Parse error: Expecting ',' delimiter at offset: 18"),
    ("POST", PREDICT, '{"instances": [1]} x', 400, "JSON Parse error: Extra data at offset: 19"),
    ("POST", PREDICT, '{"instances": [1e400]}', 400, "too large for a double"),
    ("POST", PREDICT, "[" * 100_000, 400, "JSON Parse error"),
    ("POST", PREDICT, '{"instances": ' + "[" * 500 + "]" * 500 + "}", 400, "nested"),
    ("POST", PREDICT, "[1]", 400, "must be a JSON object"),
    # keys
    ("POST", PREDICT, "{}", 400, "Missing 'inputs' or 'instances' key"),
    ("POST", PREDICT, '{"instances": [1], "inputs": [1]}', 400, "expecting only one of 'inputs' or 'instances' keys"),
    ("POST", PREDICT, '{"instances": 3}', 400, "Expecting 'instances' to be an list/array"),
    ("POST", PREDICT, '{"instances": []}', 400, "No values in 'instances' array"),
    ("POST", PREDICT, '{"signature_name": 5}', 400, "'signature_name' key must be a string value."),
    ("POST", PREDICT, '{"signature_name": "x"}', 400, 'Serving signature name: "x" not found in signature def'),
    # values
    ("POST", PREDICT, '{"instances": ["a"]}', 400, "not of expected type: float"),
    ("POST", PREDICT, '{"instances": [true]}', 400, "true at [0] is not of expected type: float"),
    ("POST", PREDICT, '{"instances": [{"b64": "aGk="}]}', 400, "not of expected type: float"),
    ("POST", PREDICT, '{"inputs": {"b64": "aGk="}}', 400, "not of expected type: float"),
    ("POST", PREDICT, '{"instances": [[1, 2], [3]]}', 400, "a list of 2 at [1], where one of 1 is"),
    ("POST", PREDICT, '{"instances": [[1, 2], [[3, 4]]]}', 400, "a list of 2 at [1], where one of 1 is"),
    ("POST", PREDICT, '{"instances": [[[1, 2], [3]]]}', 400, "a list of 2 at [0][1], where one of 1 is"),
    ("POST", PREDICT, '{"instances": [[[1, 2], 3]]}', 400, "a list of 2 at [0][1], where another value is"),
    ("POST", PREDICT, '{"instances": [[1], {"pixels": 1}]}', 400, "Item 1 of 'instances' must be a value or a list"),
    ("POST", PREDICT, '{"instances": [{"pixels": 1}, [1]]}', 400, "Item 1 of 'instances' must be an object"),
    ("POST", PREDICT, '{"instances": [{}]}', 400, "keys must be equal to: pixels"),
    ("POST", PREDICT, '{"instances": [{"x": 1}]}', 400, "Failed to process element: 0 of 'instances' list."),
    ("POST", PREDICT, '{"inputs": {"x": 1}}', 400, "'inputs' must have the key pixels"),
    ("POST", PREDICT, '{"instances": [16777217]}', 400, "16777217 at [0] does not fit a float exactly"),
    ("POST", PREDICT, '{"instances": [1e39]}', 400, "does not fit a float exactly"),
    ("POST", PREDICT, '{"instances": [[[1.0]]]}', 400, "[1,1,1], but the signature wants [-1,48,48,1]"),
    # the signature of files
    ("POST", PREDICT, '{"signature_name": "serving_bytes", "instances": [3]}', 400, "not of expected type: string"),
    (
        "POST",
        PREDICT,
        '{"signature_name": "serving_bytes", "instances": [{"b64": "?"}]}',
        400,
        "is not base64",
    ),
    ("POST", PREDICT, '{"signature_name": "serving_bytes", "instances": [{"b64": "aGk="}]}', 400, "not a readable PNG"),
    # classify and regress
    ("POST", "/v1/models/fer:classify", "", 400, "The document is empty"),
    ("POST", "/v1/models/fer:classify", "{}", 400, "'examples' must be a list"),
    ("POST", "/v1/models/fer:regress", '{"examples": []}', 400, "'examples' must be a list of one example or more"),
    ("POST", "/v1/models/fer:regress", '{"examples": [5]}', 400, "An example must be an object"),
    ("POST", "/v1/models/fer:regress", '{"examples": [{"x": null}]}', 400, "Feature x must be a value"),
    ("POST", "/v1/models/foo:classify", '{"examples": [{"x": 1}]}', 404, "Servable not found for request: Latest(foo)"),
    (
        "POST",
        "/v1/models/fer:classify",
        '{"examples": [{"x": 1.0}]}',
        400,
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict",
    ),
    ("POST", "/v1/models/fer:regress", '{"examples": [{"x": 1.0}]}', 400, "Expected regression signature method_name"),
]


@pytest.mark.parametrize(("verb", "path", "body", "status", "text"), REQUESTS)
def test_conformance(client: httpx.Client, verb: str, path: str, body: str, status: int, text: str) -> None:
    answer = client.request(verb, path, content=body)
    assert answer.status_code == status, answer.text
    if answer.headers["content-type"] == "application/json" and status != 200:
        assert answer.json().keys() == {"error"}
        assert text in answer.json()["error"]
        assert answer.text.startswith('{\n    "error": ')
    else:
        assert text in answer.text


def test_status(client: httpx.Client) -> None:
    assert client.get("/v1/models/fer/versions/1").json() == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    versions = client.get("/v1/models/mine").json()["model_version_status"]
    assert [(v["version"], v["state"]) for v in versions] == [("9", "AVAILABLE"), ("7", "AVAILABLE")]


def test_metadata(client: httpx.Client) -> None:
    answer = client.get("/v1/models/mine/labels/old/metadata").json()
    assert answer["model_spec"] == {"name": "mine", "signature_name": "", "version": "7"}
    assert answer["metadata"]["labels"] == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    dims = [{"size": size, "name": ""} for size in ("-1", "64", "64", "1")]
    assert signature["inputs"]["image"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": "serving_default_image:0",
    }
    assert [dim["size"] for dim in signature["outputs"]["scores"]["tensor_shape"]["dim"]] == ["-1", "7"]


def test_clients_written_for_tensorflow_serving(client: httpx.Client, faces: np.ndarray) -> None:
    # a notebook's cell for the flagship model ...
    data = json.dumps({"signature_name": "serving_default", "instances": (faces[:3, ..., None] / 1.0).tolist()})
    answer = client.post(PREDICT, content=data, headers={"content-type": "application/json"})
    predictions = json.loads(answer.text)["predictions"]
    expected = load_classifier("fernet").predict(faces[:3])
    np.testing.assert_array_equal(np.float32(predictions), expected)
    assert [int(np.argmax(row)) for row in predictions] == expected.argmax(axis=1).tolist()
    # ... and the package fer, with its 64x64 pixels from -1 to 1
    pixels = np.random.default_rng(1).uniform(-1, 1, (5, 64, 64, 1))
    answer = client.post("/v1/models/emotion_model:predict", json={"instances": pixels.tolist()})
    scores = np.array(answer.json()["predictions"])
    assert scores.shape == (5, 7)
    np.testing.assert_allclose(scores[:, 3], 0.5, atol=1e-6)


@pytest.mark.parametrize("form", ["bare", "named", "inputs", "named inputs", "gzip", "integers"])
def test_all_forms_give_the_classifiers_own_numbers(client: httpx.Client, faces: np.ndarray, form: str) -> None:
    pixels = faces[..., None].astype(float).tolist()
    expected, headers, key = load_classifier("fernet").predict(faces), {}, "predictions"
    body: Any = {"instances": pixels}
    if form == "named":
        body = {"instances": [{"pixels": row} for row in pixels]}
    if "inputs" in form:
        body, key = {"inputs": {"pixels": pixels} if "named" in form else pixels}, "outputs"
    if form == "integers":
        body = {"instances": faces[..., None].tolist()}
    content = json.dumps(body).encode()
    if form == "gzip":
        content, headers = gzip.compress(content), {"content-encoding": "gzip"}
    answer = client.post(PREDICT, content=content, headers=headers)
    np.testing.assert_array_equal(np.float32(answer.json()[key]), expected)


def test_files_as_base64(client: httpx.Client, faces: np.ndarray) -> None:
    instances = []
    for face in faces[:2]:
        buffer = io.BytesIO()
        Image.fromarray(face).save(buffer, "PNG")
        instances.append({"b64": base64.b64encode(buffer.getvalue()).decode()})
    instances.append({"b64": base64.encodebytes(buffer.getvalue()).decode()})  # with line breaks
    instances.append(
        {"b64": base64.b64encode(buffer.getvalue() + b"\0" * (2 - buffer.tell() % 3)).decode().rstrip("=")}
    )
    answer = client.post(PREDICT, json={"signature_name": "serving_bytes", "instances": instances})
    np.testing.assert_array_equal(
        np.float32(answer.json()["predictions"]), load_classifier("fernet").predict(faces[[0, 1, 1, 1]])
    )


def test_layout_and_tokens(client: httpx.Client) -> None:
    """As RapidJSON prints: a row a line-less list, and NaN as it is."""
    pixels = np.zeros((2, 64, 64, 1)).tolist()
    pixels[1][0][0][0] = float("nan")
    text = client.post("/v1/models/mine:predict", content=json.dumps({"instances": pixels})).text
    assert text.startswith('{\n    "predictions": [[0.01')
    assert text.endswith("], [NaN, NaN, NaN, NaN, NaN, NaN, NaN]\n    ]\n}")
    columns = client.post("/v1/models/mine:predict", json={"inputs": np.zeros((1, 64, 64, 1)).tolist()}).text
    assert columns.startswith('{\n    "outputs": [\n        [\n            0.01')


def test_a_long_request_comes_back_in_order(client: httpx.Client) -> None:
    """Its batches go through several workers at once."""
    faces = np.random.default_rng(2).integers(0, 256, (150, 48, 48), np.uint8)
    answer = client.post(PREDICT, json={"instances": faces[..., None].tolist()})
    np.testing.assert_array_equal(np.float32(answer.json()["predictions"]), load_classifier("fernet").predict(faces))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"b64": "aGk="}),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["pixels", "b64", "instances", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "examples", "x"]), json_values)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies | json_values, method=st.sampled_from(["predict", "classify", "regress"]))
def test_any_json_gets_an_answer(client: httpx.Client, body: Any, method: str) -> None:
    answer = client.post(f"/v1/models/fer:{method}", content=json.dumps(body))
    assert answer.status_code == 400, answer.text  # none of them holds a face
    assert answer.json().keys() == {"error"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60), path=st.sampled_from([PREDICT, "/v1/models/mine/labels/old:regress"]))
def test_any_bytes_get_an_answer(client: httpx.Client, body: bytes, path: str) -> None:
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
