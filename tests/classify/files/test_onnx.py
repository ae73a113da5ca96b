"""ONNX files say what they said in torch; files that ask for more than arithmetic are refused."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fergan.classify import Classifier, load_classifier
from fergan.classify.export.export import export_classifier
from fergan.classify.files.bounded import Limits
from fergan.runtime.errors import DataError

LABELS = ("angry", "happy", "neutral")
FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


def onnx_file(
    path: Path, batch: int | str, channels_last: bool = False, **options: Any
) -> tuple[Path, torch.nn.Module]:
    """Convolution, ReLU, mean over space, dense, softmax; and the same network in torch."""
    onnx = pytest.importorskip("onnx", reason="pip install 'fergan[onnx]' to run this test")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
        torch.nn.Softmax(dim=1),
    )
    arrays = dict(zip(("kernel", "bias", "dense", "shift"), network.parameters(), strict=True))
    stored = [numpy_helper.from_array(array.detach().numpy(), name) for name, array in arrays.items()]
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "dense", "shift"], ["e"], transB=1),
        helper.make_node(options.get("last", "Softmax"), ["e"], ["emotion"], domain=options.get("domain", "")),
    ]
    shape = [batch, 40, 32, 3] if channels_last else [batch, 3, 40, 32]
    if channels_last:
        nodes.insert(0, helper.make_node("Transpose", ["face"], ["x"], perm=[0, 3, 1, 2]))
    if "nodes" in options:
        nodes[-1:-1] = options["nodes"](helper)
    name = "face" if channels_last else "x"
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("emotion", TensorProto.FLOAT, [batch, 3])],
        [*stored, *options.get("arrays", ())],
    )
    imports = [helper.make_opsetid("", 17)]
    imports += [helper.make_opsetid(options["domain"], 1)] if "domain" in options else []
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 9
    if "external" in options:
        kernel = model.graph.initializer[0]
        (path.parent / "beside.bin").write_bytes(kernel.raw_data)
        kernel.ClearField("raw_data")
        kernel.data_location = TensorProto.EXTERNAL
        kernel.external_data.add(key="location", value=options["external"])
    onnx.save_model(model, path)
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS, "input_range": [0, 1]}))
    return path, network


def test_channels_of_different_ranges(tmp_path: Path) -> None:
    """Normalise as torchvision does: of 0..1, less the mean, by the deviation."""
    path, network = onnx_file(tmp_path / "model.onnx", "N")
    gray = torch.from_numpy(FACES).float()[:, None]
    resized = torch.nn.functional.interpolate(gray, (40, 32), mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(of)[:, None, None] for of in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        expected = network((resized / 255 - mean) / deviation).numpy()
    np.testing.assert_allclose(load_classifier(path, "cpu", input_range="imagenet").predict(FACES), expected, atol=1e-5)


@pytest.mark.parametrize(("batch", "channels_last"), [("N", False), (1, False), (2, True)])
def test_onnx(batch: int | str, channels_last: bool, tmp_path: Path) -> None:
    path, network = onnx_file(tmp_path / "model.onnx", batch, channels_last, external="beside.bin")
    classifier: Classifier = load_classifier(path, "cpu")
    assert (classifier.engine, classifier.input_shape) == ("onnxruntime", (40, 32, 3))
    assert (classifier.input_name, classifier.output_name) == ("face" if channels_last else "x", "emotion")
    pixels = np.random.default_rng(0).uniform(0, 1, (5, 40, 32, 3)).astype(np.float32)
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected, features = network(pictures).numpy(), network[:4](pictures).numpy()
    np.testing.assert_allclose(classifier.call(pixels), expected, atol=1e-5)
    assert classifier.predict(FACES).shape == (5, 3)
    found = np.concatenate([classifier.features(FACES[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(found, classifier.features(FACES), atol=1e-6)
    assert found.shape == features.shape


def test_onnx_files_that_ask_for_more_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()

    def tile(helper: Any) -> list[Any]:
        big = helper.make_tensor("big", 7, [2], [1, 2**40])
        return [
            helper.make_node("Constant", [], ["times"], value=big),
            helper.make_node("Tile", ["e", "times"], ["huge"]),
        ]

    cases: list[tuple[dict[str, Any], str]] = [
        ({"last": "Softmax", "domain": "my.ops"}, "operator Softmax of my.ops"),
        ({"external": "../beside.bin"}, "outside its own folder"),
        ({"external": "/etc/hostname"}, "outside its own folder"),
        ({"external": "gone.bin"}, "not beside it"),
        ({"nodes": tile}, "makes an array huge"),
    ]
    for options, reason in cases:
        onnx_file(path, "N", **options)
        with pytest.raises(DataError, match=reason):
            load_classifier(path, "cpu")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="damaged"):
        load_classifier(path, "cpu")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DataError, match="fergan\\[onnx\\]"):
        load_classifier(path, "cpu")


def test_a_file_does_not_set_its_own_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of further files count once however they are spelled, and a child reads the file first."""
    path, _ = onnx_file(tmp_path / "model.onnx", "N", external="beside.bin")
    onnx = __import__("onnx")
    model = onnx.load_model(path, load_external_data=False)
    for name in ("./beside.bin", "././beside.bin", "model.onnx", "./model.onnx"):
        array = model.graph.initializer.add(name=name, data_type=onnx.TensorProto.FLOAT, dims=[1], data_location=1)
        array.external_data.add(key="location", value=name)
        array.external_data.add(key="length", value="4")
    path.write_bytes(model.SerializeToString())
    sizes = []

    def limits(size: int) -> Limits:
        sizes.append(size)
        return Limits(size)

    monkeypatch.setattr("fergan.classify.files.onnx.Limits", limits)
    load_classifier(path, "cpu")
    assert max(sizes) == path.stat().st_size + (tmp_path / "beside.bin").stat().st_size
    read_by = []

    def endless(content: bytes) -> None:
        read_by.append(os.getpid())
        raise MemoryError

    monkeypatch.setattr(onnx, "load_model_from_string", endless)
    with pytest.raises(DataError):
        load_classifier(path, "cpu")
    assert not read_by


def test_arrays_beside_a_file_are_part_of_it(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    path, _ = onnx_file(tmp_path / "model.onnx", "N")
    assert load_classifier(path, "cpu").sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    onnx_file(path, "N", external="beside.bin")
    one = load_classifier(path, "cpu")
    exported = load_classifier(export_classifier(one, "onnx", tmp_path / "out").path, "cpu")
    assert np.array_equal(exported.predict(FACES), one.predict(FACES))
    (-np.fromfile(tmp_path / "beside.bin", np.float32)).tofile(tmp_path / "beside.bin")
    assert load_classifier(path, "cpu").sha256 != one.sha256
    with pytest.raises(DataError, match="has changed since it was opened"):
        export_classifier(one, "onnx", tmp_path / "out")
