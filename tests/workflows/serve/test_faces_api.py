"""A picture in, faces out; and what OpenAPI says of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fergan.classify.classifier import load_classifier
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image
from PIL import Image


@pytest.fixture(scope="module")
def client(serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    with serve() as client:
        yield client


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait(data_folder: Path) -> np.ndarray:
    """uint8 [256, 256, 3]"""
    path = next(iter(sorted((data_folder / "stylegan2_faces").rglob("*.[jp][pn]g"))))
    return np.asarray(Image.fromarray(read_image(path)).resize((256, 256)))


@pytest.mark.parametrize("crop", ["none", "ffhq"])
def test_a_whole_picture(client: httpx.Client, portrait: np.ndarray, crop: str) -> None:
    answer = client.post("/v1/faces:analyze", params={"crop": crop}, files={"image": png(portrait)}).json()
    classifier = load_classifier()
    (expected,) = classifier.predict(prepare_faces([portrait], crop))
    (face,) = answer["faces"]
    assert answer["model"]["sha256"] == classifier.sha256
    assert list(face["probabilities"]) == list(classifier.labels)
    np.testing.assert_array_equal(np.float32(list(face["probabilities"].values())), expected)
    assert face["label"] == classifier.labels[expected.argmax()]
    assert face["probability"] == max(face["probabilities"].values())


def test_fifty_faces(client: httpx.Client, portrait: np.ndarray) -> None:
    small = np.asarray(Image.fromarray(portrait).resize((128, 128)))
    answer = client.post("/v1/faces:analyze", content=png(np.tile(small, (5, 10, 1)))).json()
    assert (answer["width"], answer["height"]) == (1280, 640)
    cells = {
        (int(f["box"]["left"] + f["box"]["right"]) // 256, int(f["box"]["top"] + f["box"]["bottom"]) // 256)
        for f in answer["faces"]
    }
    assert len(cells) >= 48
    few = client.post("/v1/faces:analyze", params={"max_faces": 3}, content=png(np.tile(small, (5, 10, 1)))).json()
    assert len(few["faces"]) == 3


def test_no_face(client: httpx.Client) -> None:
    answer = client.post("/v1/faces:analyze", content=png(np.zeros((80, 100), np.uint8)))
    assert answer.status_code == 200
    assert answer.json()["faces"] == []


@pytest.mark.parametrize(
    ("content", "params", "status", "text"),
    [
        (b"", {}, 400, "empty"),
        (b"no picture", {}, 400, "not a readable PNG"),
        (png(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8))[:-3000], {}, 400, "the picture"),
        (png(np.zeros((9, 9), np.uint8)), {"crop": "face"}, 400, "crop"),
        (png(np.zeros((9, 9), np.uint8)), {"max_faces": "0"}, 400, "max_faces"),
        (png(np.zeros((9, 9), np.uint8)), {"model": "foo"}, 404, "Servable not found for request: Latest(foo)"),
    ],
    ids=["empty", "text", "truncated", "crop", "count", "model"],
)
def test_bad_pictures(client: httpx.Client, content: bytes, params: dict[str, str], status: int, text: str) -> None:
    answer = client.post("/v1/faces:analyze", content=content, params=params)
    assert answer.status_code == status
    assert text in answer.json()["error"]
    form = client.post("/v1/faces:analyze", params=params, files={"image": content})
    assert form.status_code == status


def test_a_form_without_a_file(client: httpx.Client) -> None:
    answer = client.post("/v1/faces:analyze", files={"note": (None, "hello")})
    assert answer.status_code == 400
    assert "holds no file" in answer.json()["error"]
    answer = client.post("/v1/faces:analyze", content=b"--x", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}


def test_what_openapi_says_is_true(client: httpx.Client) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings

    described = client.get("/openapi.json").json()
    assert all(
        "422" not in operation["responses"] for path in described["paths"].values() for operation in path.values()
    )
    schema = schemathesis.openapi.from_dict(described)
    checks = schemathesis.checks
    wanted = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(base_url=str(client.base_url), checks=wanted)

        ask()
    assert tried >= 15
    assert client.get("/healthz").json() == {"status": "ok"}


def test_pages_of_other_origins_may_read_every_answer(serve: Callable[..., Any]) -> None:
    with serve(cors=True) as client:
        for answer in (
            client.post("/v1/faces:analyze", content=png(np.zeros((80, 100), np.uint8))),
            client.post("/v1/faces:analyze", content=b"no picture"),
            client.get("/v1/models"),
            client.get("/v1/nothing"),
            client.get("/nothing"),
            client.options("/v1/faces:analyze", headers={"origin": "http://localhost"}),
        ):
            assert answer.headers.get_list("access-control-allow-origin") == ["*"], answer.url
