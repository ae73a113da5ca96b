"""Published networks are recognised by their files, and nothing else is."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fergan.classify import load_classifier
from fergan.classify.backend import keras
from fergan.classify.known import KNOWN_JUDGES
from fergan.classify.published import cached_judge, fetch_judge
from fergan.data.labels import FER2013, FERPLUS
from fergan.runtime.errors import DataError

L = keras.layers


def xception(stem: tuple[int, int], modules: tuple[int, ...], end: str = "predictions") -> keras.Model:
    """The layers of oarriaga's Xceptions, in any order of naming."""
    face = keras.Input((64, 64, 1))
    x = face
    for width in stem:
        x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(width, 3, use_bias=False)(x)))
    for width in modules:
        shortcut = L.BatchNormalization()(L.Conv2D(width, 1, strides=2, padding="same", use_bias=False)(x))
        x = L.Activation("relu")(L.BatchNormalization()(L.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)))
        x = L.BatchNormalization()(L.SeparableConv2D(width, 3, padding="same", use_bias=False)(x))
        x = L.Add()([L.MaxPooling2D(3, strides=2, padding="same")(x), shortcut])
    x = L.GlobalAveragePooling2D()(L.Conv2D(7, 3, padding="same")(x))
    return keras.Model(face, L.Activation("softmax", name=end)(x))


def onnx_file(path: Path, ends: tuple[str, str], shape: list[int | str], head: tuple[int, int]) -> Path:
    """Mean over space, a dense layer; the names and shapes that matter are those of a published file."""
    onnx = pytest.importorskip("onnx", reason="pip install 'fergan[onnx]' to run this test")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    outputs, features = head
    stored = [
        numpy_helper.from_array(rng.normal(size=(features, shape[1], 1, 1)).astype(np.float32), "stem"),
        numpy_helper.from_array(rng.normal(size=head).astype(np.float32), "classifier"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", [ends[0]], ["mean"]),
        helper.make_node("Conv", ["mean", "stem"], ["features"]),
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("Gemm", ["flat", "classifier"], [ends[1]], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info(ends[0], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(ends[1], TensorProto.FLOAT, [shape[0], outputs])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save_model(model, path)
    return path


def test_small_xceptions_are_recognised_by_their_layers(tmp_path: Path) -> None:
    for name, model in {
        "mini_XCEPTION": xception((8, 8), (16, 32, 64, 128)),
        "big_XCEPTION": xception((32, 64), (128, 256)),
    }.items():
        path = tmp_path / "renamed.keras"
        model.save(path)
        classifier = load_classifier(path, "cpu")
        assert classifier.card["recognised"] == name
        assert (classifier.labels, classifier.input_range, classifier.view) == (FER2013, (-1, 1), "48")
        assert "MIT" in classifier.remarks[0]
        own = load_classifier(path, "cpu", labels=FER2013[::-1], input_range=(0, 1))  # what is said is believed
        assert (own.labels, own.input_range) == (FER2013[::-1], (0, 1))
        path.with_suffix(".json").write_text('{"input_range": [[1], [2, 3]]}')
        with pytest.raises(DataError, match="its input range is"):
            load_classifier(path, "cpu")
        path.with_suffix(".json").unlink()
    for other in (xception((8, 8), (16, 32, 64)), xception((8, 8), (16, 32, 64, 128), "softmax")):
        other.save(path)
        with pytest.raises(DataError, match="nothing says what its 7 outputs are called"):
            load_classifier(path, "cpu")


def test_hsemotion_needs_its_name_and_its_layers(tmp_path: Path) -> None:
    ends, eight = ("input", "output"), ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    for name, size, head in (
        ("enet_b0_8_best_vgaf", 224, (8, 1280)),
        ("enet_b2_7", 260, (7, 1408)),
        ("enet_b0_8_va_mtl", 224, (10, 1280)),
    ):
        path = onnx_file(tmp_path / f"{name}.onnx", ends, ["batch_size", 3, size, size], head)
        classifier = load_classifier(path, "cpu")
        expected = eight if head[0] != 7 else tuple(label for label in eight if label != "contempt")
        assert (classifier.labels, classifier.view) == (expected, "own")
        assert classifier.preparation().shape == (size, size, 3)
        low, high = np.array(classifier.input_range).T
        np.testing.assert_allclose(-low / (high - low), [0.485, 0.456, 0.406])
        rows = classifier.predict(np.zeros((2, size, size, 3), np.uint8))
        assert rows.shape == (2, len(expected))
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    path.rename(tmp_path / "mine.onnx")
    with pytest.raises(DataError, match="nothing says what its 10 outputs are called"):
        load_classifier(tmp_path / "mine.onnx", "cpu")


def test_ferplus_of_the_onnx_zoo(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "any.onnx", ("Input3", "Plus692_Output_0"), [1, 1, 64, 64], (8, 16))
    classifier = load_classifier(path, "cpu")
    assert (classifier.labels, classifier.input_range, classifier.view) == (FERPLUS, (0, 255), "48")
    assert classifier.card["outputs"] == "logits"


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served under the addresses of the published mini_XCEPTION; the cache is another folder."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("FERGAN_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/mini.hdf5"
        judge = replace(KNOWN_JUDGES["mini_XCEPTION"], url=url, sha256=None)
        monkeypatch.setitem(KNOWN_JUDGES, "mini_XCEPTION", judge)
        yield folder
        server.shutdown()


@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_published_judge_is_downloaded_by_name(
    publisher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (publisher / "mini.hdf5").write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match="a web page"):
        fetch_judge("mini_XCEPTION")
    xception((8, 8), (16, 32, 64, 128)).save(publisher / "mini.h5")
    (publisher / "mini.h5").rename(publisher / "mini.hdf5")
    classifier = load_classifier("mini_XCEPTION", "cpu")
    assert (classifier.labels, classifier.source) == (FER2013, cached_judge("mini_XCEPTION"))
    assert "licence MIT" in capsys.readouterr().err
    pin = json.loads(Path(f"{classifier.source}.json").read_text())
    assert pin["sha256"] == classifier.sha256
    strict = replace(KNOWN_JUDGES["mini_XCEPTION"], sha256="0" * 64)
    monkeypatch.setitem(KNOWN_JUDGES, "mini_XCEPTION", strict)
    monkeypatch.setenv("FERGAN_CACHE", str(tmp_path / "other"))
    with pytest.raises(DataError, match="is not the published mini_XCEPTION"):
        fetch_judge("mini_XCEPTION")
