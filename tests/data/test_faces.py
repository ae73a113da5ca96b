"""The same face gives the same 48x48 bytes however it comes, without aliasing, framed as asked for."""

import io
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fergan.data import faces as faces_module
from fergan.data.detection.detectors import open_detector
from fergan.data.detection.squares import face_squares
from fergan.data.faces import CROPS, FFHQ_BOX, Preparation, cut_faces, detect_faces, prepare_faces
from fergan.data.images import read_image, write_png
from fergan.runtime.errors import UsageError
from PIL import Image


@pytest.fixture(scope="module")
def stylegan2_faces(data_folder: Path):
    path = data_folder / "stylegan2_faces" / "faces_128.zip"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".png")]
        return np.stack([np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in names[::20]])


@pytest.fixture
def detector():
    try:
        detect_faces(np.zeros((1, 48, 48), np.uint8))
    except UsageError as error:
        pytest.skip(str(error))


def smooth_faces(count=3, side=100, channels=3):
    """Blurred noise: pictures with content at every scale."""
    noise = np.random.default_rng(5).integers(0, 256, (count, 25, 25, 3), dtype=np.uint8)
    big = [np.asarray(Image.fromarray(n).resize((side, side), Image.Resampling.BICUBIC)) for n in noise]
    return np.stack(big)[..., :channels]


@pytest.mark.parametrize("crop", ["none", "ffhq"])
@pytest.mark.parametrize("channels", [1, 3])
def test_array_list_tensor_and_file_give_the_same_bytes(crop, channels, tmp_path):
    torch = pytest.importorskip("torch")
    pictures = smooth_faces(channels=channels)
    expected = prepare_faces(pictures, crop)
    assert expected.shape == (3, 48, 48) and expected.dtype == np.uint8 and expected.std() > 10
    for index, picture in enumerate(pictures):
        write_png(tmp_path / f"{index}.png", picture)
    files = (read_image(tmp_path / f"{index}.png") for index in range(3))
    channels_first = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    mixed = [pictures[0], torch.from_numpy(pictures[1]), np.asfortranarray(pictures[2])]
    for same in (list(pictures), files, torch.from_numpy(pictures), channels_first.permute(0, 2, 3, 1), mixed):
        np.testing.assert_array_equal(prepare_faces(same, crop), expected)
    np.testing.assert_array_equal(prepare_faces(pictures[1:2], crop), expected[1:2])  # neighbours do not matter
    if channels == 1:
        np.testing.assert_array_equal(prepare_faces(pictures[..., 0], crop), expected)
        np.testing.assert_array_equal(prepare_faces(np.repeat(pictures, 3, axis=3), crop), expected)


def test_48x48_gray_passes_unchanged():
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    for same in (faces, faces[..., None], np.repeat(faces[..., None], 3, axis=3)):
        np.testing.assert_array_equal(prepare_faces(same), faces)


def test_gray_is_itu_r_601_luma():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 200, 90]], np.uint8)
    flat = np.broadcast_to(colours[:, None, None, :], (5, 60, 60, 3))
    expected = np.floor(colours @ np.array([0.299, 0.587, 0.114]) + 0.5)
    for crop in ("none", "ffhq"):
        faces = prepare_faces(flat, crop)
        assert (faces == expected[:, None, None]).all()  # and constant stays constant


@pytest.mark.parametrize("side", [96, 128, 1024])
def test_fine_checkerboard_becomes_flat_gray(side):
    board = (np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8)
    faces = prepare_faces(board[None])
    assert np.abs(faces[:, 2:-2, 2:-2].astype(int) - 127.5).max() < (12 if side < 128 else 2)  # without: 0 or 255


def test_other_shapes_are_cut_to_the_centre_square_and_small_ones_enlarged():
    wide = np.zeros((48, 101, 3), np.uint8)
    wide[:, 26:74] = 200
    assert (prepare_faces([wide, wide.transpose(1, 0, 2)]) == 200).all()
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8) * 16, (16, 16))
    enlarged = prepare_faces([ramp])[0].astype(int)
    assert (np.diff(enlarged[0]) >= 0).all() and len(set(enlarged[0])) > 40  # a ramp, not 16 blocks
    assert (prepare_faces([np.full((1, 1), 77, np.uint8)]) == 77).all()


def test_ffhq_box_frames_the_same_place_at_every_resolution():
    left, top, right, bottom = FFHQ_BOX
    assert left + right == pytest.approx(1) and right - left == pytest.approx(bottom - top)
    for side in (100, 200, 1000):
        picture = np.zeros((side, side), np.uint8)
        picture[round(top * side) : round(bottom * side), round(left * side) : round(right * side)] = 255
        face = prepare_faces([picture], crop="ffhq")[0]
        assert (face[2:-2, 2:-2] == 255).all()
        edges = np.concatenate([face[0, 2:-2], face[-1, 2:-2], face[2:-2, 0], face[2:-2, -1]])
        assert edges.min() > 230 and edges.max() < 255  # the filter reaches a little beyond the box, and no more


def test_detection_finds_generated_faces_and_says_what_it_missed(stylegan2_faces, detector):
    missed = []
    faces = prepare_faces([*stylegan2_faces, np.zeros((64, 64, 3), np.uint8)], crop="detect", missed=missed)
    last = len(stylegan2_faces)
    assert missed[-1:] == [last] and len(missed) <= 3 and (faces[last] == 0).all()
    boxes = [box for box in detect_faces(stylegan2_faces) if box is not None]
    expected = np.array(FFHQ_BOX) * 128  # the fixed box is where the detector puts it, on the whole
    np.testing.assert_allclose(np.median(boxes, axis=0), expected, atol=0.04 * 128)


def test_box_of_a_face_off_centre_in_a_wide_picture(stylegan2_faces, detector):
    face = stylegan2_faces[0]
    (alone,) = detect_faces(face[None])
    wide = np.full((160, 400, 3), face.reshape(-1, 3).mean(0), np.uint8)
    wide[20:148, 260:388] = face
    (box,) = detect_faces([wide])
    np.testing.assert_allclose(box, np.array(alone) + [260, 20, 260, 20], atol=10)
    assert min(box) >= 0 and box[2] <= 400 and box[3] <= 160


def test_detect_cuts_out_the_largest_face_of_the_one_haar_detector(stylegan2_faces, detector):
    canvas = np.full((300, 420, 3), 110, np.uint8)
    canvas[100:228, 10:138] = stylegan2_faces[0]
    canvas[20:276, 150:406] = np.asarray(Image.fromarray(stylegan2_faces[1]).resize((256, 256)))
    haar = open_detector("haar")
    found = haar.find(canvas)
    assert len(found) == 2
    squares = face_squares(found[:1], 420, 300, haar.enlarge)
    x, y, side = squares[0].tolist()
    missed = []
    faces = prepare_faces([canvas, canvas[:60]], crop="detect", missed=missed)
    assert detect_faces([canvas]) == [(x, y, x + side, y + side)] and x > 140
    np.testing.assert_array_equal(faces[:1], cut_faces(canvas, squares))
    assert missed == [1]
    np.testing.assert_array_equal(faces[1:], prepare_faces([canvas[:60]]))


def test_without_a_cascade_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(faces_module, "_local", types.SimpleNamespace())
    for cv2 in (None, types.ModuleType("cv2")):  # not installed; OpenCV 5, which has no CascadeClassifier
        monkeypatch.setitem(sys.modules, "cv2", cv2)
        with pytest.raises(UsageError, match="pip install 'opencv-python-headless<5'"):
            prepare_faces(np.zeros((1, 48, 48), np.uint8), crop="detect")


def test_many_threads_that_detect_first_all_get_a_whole_opencv():
    script = """
import sys, threading
import numpy as np
from fergan.data.faces import prepare_faces
assert "cv2" not in sys.modules
gate, faults = threading.Barrier(8), []
def work():
    gate.wait()
    try: prepare_faces(np.zeros((1, 64, 64), np.uint8), crop="detect")
    except BaseException as error: faults.append(repr(error))
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
sys.exit(faults[0] if faults else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (np.zeros((2, 48, 48, 3), np.float32), "uint8"),
        (np.zeros((0, 48, 48, 3), np.float32), "uint8"),
        (np.zeros((2, 48, 48, 4), np.uint8), r"\[48, 48, 4\]"),
        (np.zeros((2, 3, 48, 48), np.uint8), "channels last"),
        (np.zeros((48, 48, 3), np.uint8), "single picture"),
        (np.zeros((48, 48), np.uint8), r"\[48, 48\]"),
        (np.zeros((2, 0, 48, 3), np.uint8), "no pixels"),
        ([np.zeros((48, 48), np.uint8), object()], "image 1 .* object"),
        (7, "int"),
    ],
)
def test_wrong_input_is_named(images, fault):
    with pytest.raises(UsageError, match=fault):
        prepare_faces(images)


def test_no_pictures_give_no_faces():
    for nothing in ([], np.zeros((0, 64, 64, 3), np.uint8)):
        assert prepare_faces(nothing).shape == (0, 48, 48)


def test_preparation_records_what_was_done():
    with pytest.raises(UsageError, match="none, ffhq, detect"):
        Preparation("tight")
    with pytest.raises(UsageError, match="'tight'"):
        prepare_faces([], crop="tight")
    records = [Preparation(crop).as_dict() for crop in CROPS]
    assert [record["crop"] for record in records] == list(CROPS)
    assert all(record["size"] == 48 and "bicubic" in record["filter"] and "601" in record["gray"] for record in records)
    assert records[1]["box"] == list(FFHQ_BOX) and "detector" in records[2]
