"""Faces are found where they are, framed as the crop ``detect`` does, and bad detector files are told as such."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from fergan.data.detection import yunet
from fergan.data.detection.detectors import open_detector
from fergan.data.detection.face import Face, overlap
from fergan.data.detection.squares import face_squares
from fergan.data.faces import cut_faces, detect_faces, prepare_faces
from fergan.runtime import downloads
from fergan.runtime.errors import DataError, UsageError
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """uint8 [6, 64, 64, 3] of the bundled generator."""
    from fergan.stylegan.generator import load_generator

    return np.asarray(load_generator().generate(list(range(6))))


def paste(faces: np.ndarray, places: list[tuple[int, int, int]], size: tuple[int, int] = (640, 480)) -> np.ndarray:
    """A gray picture with faces in squares (x, y, side)."""
    canvas = Image.new("RGB", size, (110, 110, 110))
    for k, (x, y, side) in enumerate(places):
        canvas.paste(Image.fromarray(faces[k % len(faces)]).resize((side, side), Image.Resampling.BICUBIC), (x, y))
    return np.array(canvas)


def within(place: tuple[int, int, int]) -> Face:
    """Where the face is in a pasted picture: that of FFHQ-aligned pictures, as measured in data/faces.py."""
    x, y, side = place
    return Face(x + 0.17 * side, y + 0.21 * side, 0.67 * side, 0.67 * side, 0)


@pytest.mark.parametrize("name", ["haar", "lbp"])
def test_faces_of_several_sizes_are_found_where_they_are(name: str, faces: np.ndarray) -> None:
    if name == "lbp":
        pytest.importorskip("skimage")
    detector = open_detector(name)
    places = [(10, 10, 260), (330, 60, 200), (80, 300, 150), (450, 320, 120)]
    picture = paste(faces, places)
    found = detector.find(picture)
    assert len(found) == 4
    assert [face.width for face in found] == sorted((face.width for face in found), reverse=True)
    for place in places:
        assert max(overlap(face, within(place)) for face in found) > 0.65
    assert all(face.score >= 1 for face in found)

    near = detector.find_near(picture, [face._replace(x=face.x + 8, width=face.width * 1.05) for face in found])
    assert len(near) == 4
    assert all(max(overlap(a, b) for b in found) > 0.75 for a in near)
    assert detector.find_near(picture, [found[0], found[0]._replace(x=found[0].x + 5)])[1:] == []
    assert detector.find_near(picture, [Face(-500, 5000, 80, 80, 1)]) == []


def test_no_face_and_fifty(faces: np.ndarray) -> None:
    detector = open_detector("haar", 0.09)
    assert detector.find(np.full((480, 640, 3), 128, np.uint8)) == []
    assert detector.find(np.zeros((3, 2, 3), np.uint8)) == []
    places = [(column * 128, row * 144, 120) for row in range(5) for column in range(10)]
    assert len(detector.find(paste(faces, places, (1280, 720)))) == 50


def test_a_single_face_is_framed_as_the_crop_detect_frames_it(faces: np.ndarray) -> None:
    picture = paste(faces, [(60, 20, 400)], (520, 440))
    [face] = open_detector("haar").find(picture)
    [[x, y, side]] = face_squares([face], 520, 440, open_detector("haar").enlarge).tolist()
    [box] = detect_faces([picture])
    assert box == (x, y, x + side, y + side)
    cut = picture[y : y + side, x : x + side]
    assert np.array_equal(cut_faces(picture, np.array([[x, y, side]])), prepare_faces([cut]))


@given(
    st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.floats(1e-3, 1e4),
    st.integers(1, 2000), st.integers(1, 2000), st.floats(1, 2),
)  # fmt: skip
def test_squares_stay_inside_the_picture(x, y, w, h, width, height, enlarge) -> None:
    [[left, top, side]] = face_squares([Face(x, y, w, h, 1)], width, height, enlarge).tolist()
    assert side >= 1
    assert 0 <= left <= left + side <= width
    assert 0 <= top <= top + side <= height


def yunet_like(path: Path) -> None:
    """A network with YuNet's inputs and outputs that sees a face of 32 pixels at each cell of 32 whose red is full."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, values: np.ndarray) -> None:
        initializers.append(numpy_helper.from_array(values, name))

    initializers: list = []
    nodes, outputs = [], []
    red = np.zeros((1, 3, 1, 1), np.float32)
    red[0, 2] = 1 / 255  # blue, green, red is the order of OpenCV
    constant("red", red)
    constant("scores", np.array([1, -1, 1], np.int64))
    for stride in (8, 16, 32):
        constant(f"on_{stride}", np.float32([1 if stride == 32 else 0]))
        nodes += [
            helper.make_node("Conv", ["input", "red"], [f"r_{stride}"], kernel_shape=[1, 1]),
            helper.make_node(
                "AveragePool", [f"r_{stride}"], [f"p_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("Mul", [f"p_{stride}", f"on_{stride}"], [f"m_{stride}"]),
        ]
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            weight = np.full((width, 1, 1, 1), 1.0 if width == 1 else 0.0, np.float32)
            constant(f"w_{name}_{stride}", weight)
            constant(f"s_{name}_{stride}", np.array([1, -1, width], np.int64))
            nodes += [
                helper.make_node("Conv", [f"m_{stride}", f"w_{name}_{stride}"], [f"c_{name}_{stride}"]),
                helper.make_node("Transpose", [f"c_{name}_{stride}"], [f"t_{name}_{stride}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{name}_{stride}", f"s_{name}_{stride}"], [f"{name}_{stride}"]),
            ]
            shape = [1, (320 // stride) ** 2, width]
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, shape))
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])
    graph = helper.make_graph(nodes, "yunet-like", [pixels], outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_an_onnx_detector_gets_bgr_and_its_boxes_come_back_in_pixels_of_the_picture(tmp_path: Path) -> None:
    yunet_like(tmp_path / "like.onnx")
    detector = open_detector(str(tmp_path / "like.onnx"))
    picture = np.zeros((480, 640, 3), np.uint8)  # searched at half its size, so a cell is 64 pixels
    picture[128:192, 64:128] = (255, 0, 0)
    picture[256:320, 320:384] = (0, 0, 255)
    [face] = detector.find(picture)
    assert (face.x, face.y, face.width, face.height) == pytest.approx((32, 96, 64, 64), abs=1)
    assert face.score == pytest.approx(1, abs=0.02)


def test_yunet_is_downloaded_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    published = tmp_path / "published.onnx"
    monkeypatch.setattr(yunet, "YUNET_URL", published.as_uri())
    with pytest.raises(DataError, match="by hand.*haar"):
        open_detector("yunet")
    assert open_detector("auto").name == "haar"
    published.write_bytes(b"\x08 something else")
    with pytest.raises(DataError, match="not the published yunet"):
        open_detector("yunet")
    assert not yunet.yunet_path().exists()
    yunet_like(published)
    monkeypatch.setattr(yunet, "YUNET_SHA256", hashlib.sha256(published.read_bytes()).hexdigest())
    assert open_detector("yunet").name == "yunet"
    published.unlink()
    assert open_detector("auto").name == "yunet"


@pytest.mark.parametrize(
    ("name", "content", "error", "text"),
    [
        ("mtcnn", None, UsageError, "not one of auto, yunet, haar, lbp"),
        ("gone.xml", None, DataError, "no such file"),
        ("bad.xml", "<opencv_storage><cascade>", DataError, "not a cascade that OpenCV can read"),
        (
            "other.xml",
            "<?xml version='1.0'?><opencv_storage><a>1</a></opencv_storage>",
            DataError,
            "not a cascade that OpenCV can read",
        ),
        ("bad.onnx", "no network", DataError, "not a YuNet"),
    ],
)
def test_bad_detectors_are_told_as_such(tmp_path: Path, name: str, content: str | None, error, text: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=text):
        open_detector(str(tmp_path / name) if "." in name else name)
    with pytest.raises(UsageError, match="smallest face"):
        open_detector("haar", 0)
