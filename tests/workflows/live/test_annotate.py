"""A film of generated faces comes back labelled: boxes where the faces are, numbers that stay, a table to use."""

from __future__ import annotations

import csv
import os
import signal
import struct
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fergan.classify.classifier import load_classifier
from fergan.data.detection.face import Face, overlap
from fergan.data.faces import cut_faces
from fergan.runtime.films import VideoFile
from fergan.workflows.cli.signals import stop_on_signal
from fergan.workflows.live.annotate import AnnotateOptions, annotate
from fergan.workflows.live.face_table import COLUMNS
from fergan.workflows.live.tracking import Smoother, Tracker
from fergan.workflows.live.video import VideoSource
from PIL import Image

from ..conftest import Invoke

Place = tuple[float, float, int]
SIZE = (480, 360)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """uint8 [4, 64, 64, 3] of the bundled generator."""
    from fergan.stylegan.generator import load_generator

    return np.asarray(load_generator("stylegan2-faces-64").generate(list(range(4))))


def canvas(faces: np.ndarray, places: list[Place], size: tuple[int, int] = SIZE) -> np.ndarray:
    """A gray picture with faces in squares (x, y, side), later ones in front."""
    picture = Image.new("RGB", size, (110, 110, 110))
    for k, (x, y, side) in enumerate(places):
        face = Image.fromarray(faces[k % len(faces)]).resize((side, side), Image.Resampling.BICUBIC)
        picture.paste(face, (round(x), round(y)))
    return np.array(picture)


def film(path: Path, faces: np.ndarray, frames: list[list[Place]], fps: float = 25.0) -> Path:
    """An mp4 of MPEG-4 Part 2, which is written in no time."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, SIZE)
    for places in frames:
        writer.write(np.ascontiguousarray(canvas(faces, places)[:, :, ::-1]))
    writer.release()
    return path


def within(place: Place) -> Face:
    x, y, side = place
    return Face(x + 0.17 * side, y + 0.21 * side, 0.67 * side, 0.67 * side, 0)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def box(row: dict[str, str]) -> Face:
    return Face(*(float(row[name]) for name in ("x", "y", "width", "height")), 0)


TWO: list[list[Place]] = [[(20 + 3 * k, 40 + k, 170), (290 - 2 * k, 170 - 2 * k, 160)] for k in range(24)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, faces: np.ndarray) -> Path:
    """A folder with film.mp4 of two faces that move, out.webm and out.csv."""
    folder = tmp_path_factory.mktemp("film")
    film(folder / "film.mp4", faces, TWO)
    result = annotate(
        AnnotateOptions(str(folder / "film.mp4"), str(folder / "out.webm"), str(folder / "out.csv"), detector="haar")
    )
    assert (result.frames, result.complaints, result.stopped, result.detector) == (24, (), False, "haar")
    return folder


def test_every_face_of_every_frame_is_in_the_table_where_it_is(done: Path) -> None:
    rows = rows_of(done / "out.csv")
    labels = load_classifier().labels
    assert tuple(rows[0]) == (*COLUMNS, *labels)
    tracks = defaultdict(set)
    for number, places in enumerate(TWO):
        here = [row for row in rows if row["frame"] == str(number)]
        assert len(here) == 2
        for k, place in enumerate(places):
            best = max(here, key=lambda row, place=place: overlap(box(row), within(place)))
            assert overlap(box(best), within(place)) > 0.65
            tracks[k].add(best["track"])
        assert [float(row["time_s"]) for row in here] == pytest.approx([number / 25] * 2, abs=1e-3)
    assert tracks == {0: {"1"}, 1: {"2"}} or tracks == {0: {"2"}, 1: {"1"}}
    assert {row["source"] for row in rows} == {"film.mp4"}


def test_labels_are_those_of_the_classifier_on_the_squares_in_the_table(done: Path) -> None:
    classifier = load_classifier()
    source = VideoSource(str(done / "film.mp4"))
    rows = rows_of(done / "out.csv")
    frames = list(source.frames())
    assert len(frames) == 24
    for number, (_, picture) in enumerate(frames):
        here = [row for row in rows if row["frame"] == str(number)]
        squares = np.array([[int(row["x"]), int(row["y"]), int(row["width"])] for row in here])
        expected = classifier.predict(cut_faces(picture, squares))
        given = np.array([[float(row[label]) for label in classifier.labels] for row in here])
        assert np.abs(given - expected).max() < 1e-5
        assert [row["label"] for row in here] == [classifier.labels[k] for k in expected.argmax(1)]
        assert [float(row["confidence"]) for row in here] == pytest.approx(expected.max(1), abs=1e-5)
    source.close()


def test_the_film_has_the_same_frames_with_boxes_drawn(done: Path) -> None:
    before, after = VideoSource(str(done / "film.mp4")), VideoSource(str(done / "out.webm"))
    rows = rows_of(done / "out.csv")
    assert (after.width, after.height, after.fps) == (*SIZE, 25.0)
    pairs = list(zip(before.frames(), after.frames(), strict=True))
    assert len(pairs) == 24
    for number, ((_, plain), (_, drawn)) in enumerate(pairs):
        changed = np.abs(plain.astype(int) - drawn).max(axis=2)
        for row in [row for row in rows if row["frame"] == str(number)]:
            x, y, side = int(row["x"]), int(row["y"]), int(row["width"])
            edge = changed[y + side // 2 : y + side, x - 3 : x + 4]  # the left one of its box, with its black rims
            assert np.median(edge.max(axis=1)) > 60
        assert changed[-20:, :].max() < 40  # nothing is drawn where no face is
    for source in (before, after):
        source.close()


def test_two_faces_that_cross_keep_their_numbers(faces: np.ndarray, tmp_path: Path) -> None:
    frames: list[list[Place]] = [[(10 + 7 * k, 60, 180), (290 - 7 * k, 110, 180)] for k in range(40)]
    film(tmp_path / "film.mp4", faces, frames)
    annotate(AnnotateOptions(str(tmp_path / "film.mp4"), csv=str(tmp_path / "out.csv"), detector="haar"))
    rows = rows_of(tmp_path / "out.csv")
    ends = []
    for number in (1, 39):
        here = [row for row in rows if row["frame"] == str(number)]
        ends.append(
            [max(here, key=lambda row, p=place: overlap(box(row), within(p)))["track"] for place in frames[number]]
        )
    assert ends[0] == ends[1]
    assert len(set(ends[0])) == 2


def test_tracks_end_after_a_while_and_move_on_meanwhile() -> None:
    tracker = Tracker()
    for k in range(20):
        assert tracker.update(k / 10, [Face(10 * k, 50, 60, 60, 1)]) == [1]
    assert tracker.update(2.0, []) == []
    assert tracker.expected(2.4)[0].x == pytest.approx(240, abs=6)  # 100 pixels a second
    assert tracker.update(2.5, [Face(252, 50, 60, 60, 1), Face(400, 300, 60, 60, 1)]) == [1, 2]
    assert tracker.update(9.0, [Face(400, 300, 60, 60, 1)]) == [3]


def test_smoothing_follows_its_time_constant_whatever_the_frame_rate() -> None:
    for fps in (5, 60):
        smoother = Smoother(0.5)
        smoother(1, 0.0, np.array([1.0, 0.0]))
        for k in range(1, fps + 1):
            shown = smoother(1, 0.5 * k / fps, np.array([0.0, 1.0]))
        assert shown == pytest.approx([np.exp(-1), 1 - np.exp(-1)])
    assert Smoother(0)(1, 1.0, np.array([0.3, 0.7])) == pytest.approx([0.3, 0.7])


def atom(data: bytes, path: list[bytes], change: Callable[[bytes], bytes]) -> bytes:
    """An mp4 file, or the contents of one of its boxes, with the box at ``path`` changed (ISO/IEC 14496-12, 4.2)."""
    out, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + size]
        if kind == path[0]:
            body = change(body) if len(path) == 1 else atom(body, path[1:], change)
        out += struct.pack(">I4s", len(body) + 8, kind) + body
        at += size
    return out


def test_times_are_the_containers_where_they_are_uneven(faces: np.ndarray, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", faces, [[(100, 60, 200)]] * 12)

    def uneven(body: bytes) -> bytes:  # stts: runs of (frames, duration); the second half takes three times as long
        version, count, frames, duration = struct.unpack(">IIII", body)
        assert (count, frames) == (1, 12)
        return struct.pack(">IIIIII", version, 2, 6, duration, 6, 3 * duration)

    def longer(body: bytes) -> bytes:  # elst: what lies beyond its duration is not played
        return body[:8] + struct.pack(">I", 2 * struct.unpack(">I", body[8:12])[0]) + body[12:]

    content = atom(path.read_bytes(), [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"], uneven)
    path.write_bytes(atom(content, [b"moov", b"trak", b"edts", b"elst"], longer))
    annotate(AnnotateOptions(str(path), csv=str(tmp_path / "out.csv"), detector="haar"))
    times = [float(row["time_s"]) for row in rows_of(tmp_path / "out.csv")]
    assert np.diff(times) == pytest.approx([0.04] * 6 + [0.12] * 5, abs=2e-3)


def test_a_film_with_rotation_metadata_is_read_upright(faces: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    upright = canvas(faces, [(60, 60, 200)], (320, 480))
    with VideoFile(path, 480, 320, 25) as file:
        for _ in range(3):
            file.write(np.ascontiguousarray(np.rot90(upright)))  # as a phone stores it

    def turned(body: bytes) -> bytes:  # tkhd: the matrix of a quarter turn clockwise, in 16.16 and 2.30 fixed point
        matrix = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 320 * 65536, 0, 2**30)
        return body[:40] + matrix + body[76:]

    path.write_bytes(atom(path.read_bytes(), [b"moov", b"trak", b"tkhd"], turned))
    result = annotate(AnnotateOptions(str(path), str(tmp_path / "out.mp4"), str(tmp_path / "out.csv"), detector="haar"))
    assert result.faces == 3
    assert overlap(box(rows_of(tmp_path / "out.csv")[0]), within((60, 60, 200))) > 0.65
    source = VideoSource(str(tmp_path / "out.mp4"))
    assert (source.width, source.height) == (320, 480)
    source.close()


@pytest.mark.parametrize(("ending", "codec"), [(".webm", "VP80"), (".mp4", "VP90")])
def test_films_are_what_browsers_play(tmp_path: Path, ending: str, codec: str, capfd: pytest.CaptureFixture) -> None:
    import cv2

    for count, fps in ((1, 25.0), (7, 23.976), (40, 12.5), (3, 0.5)):
        with VideoFile(tmp_path / f"film{ending}", 64, 48, fps) as file:
            for k in range(count):
                file.write(np.full((48, 64, 3), k, np.uint8))
        read = cv2.VideoCapture(str(tmp_path / f"film{ending}"))
        assert int(read.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode() == codec
        source = VideoSource(str(tmp_path / f"film{ending}"))
        assert len(list(source.frames())) == count
        assert source.complaint is None
    assert capfd.readouterr() == ("", "")


def test_a_frame_of_another_size_is_fitted_into_the_film(faces: np.ndarray, tmp_path: Path) -> None:
    with VideoFile(tmp_path / "film.mp4", 101, 80, 25) as file:
        for size in ((80, 101), (160, 160), (33, 200)):
            file.write(np.full((*size, 3), 200, np.uint8))
    source = VideoSource(str(tmp_path / "film.mp4"))
    frames = [frame for _, frame in source.frames()]
    source.close()
    assert [frame.shape for frame in frames] == [(80, 100, 3)] * 3
    assert frames[1][40, 50].min() > 180
    assert frames[1][40, 3].max() < 30  # black beside a square


def test_a_damaged_film_gives_what_can_be_read_and_says_so(faces: np.ndarray, tmp_path: Path, invoke: Invoke) -> None:
    import cv2

    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, SIZE)
    for _ in range(20):
        writer.write(canvas(faces, [(100, 60, 200)])[:, :, ::-1])
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    done = invoke("annotate", "--source", "film.avi", "--csv", "out.csv", "--detector", "haar")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out.csv")
    assert 5 <= len(rows) < 15
    assert f"film.avi: ends after {len(rows)} of 20 frames" in done.stderr


def test_a_folder_of_pictures(faces: np.ndarray, tmp_path: Path, invoke: Invoke) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(canvas(faces, [(20, 40, 180), (260, 100, 200)])).save(folder / "a.png")
    Image.fromarray(canvas(faces, [])).save(folder / "b.jpg")
    (folder / "c.png").write_bytes(b"no picture")
    Image.fromarray(canvas(faces, [(100, 60, 200)])).convert("L").save(folder / "sub" / "gray.png")
    places: list[Place] = [(column * 128, row * 144, 120) for row in range(5) for column in range(10)]
    Image.fromarray(canvas(faces, places, (1280, 720))).save(folder / "sub" / "many.png")
    done = invoke(
        "annotate", "--source", "in", "--out", "out", "--csv", "out.csv", "--detector", "haar", "--min-face", "0.09"
    )
    assert done.returncode == 0, done.stderr
    assert "c.png: is not a readable" in done.stderr
    counts: dict[str, int] = defaultdict(int)
    rows = rows_of(tmp_path / "out.csv")
    for row in rows:
        counts[row["source"]] += 1
    assert counts == {"a.png": 2, "sub/gray.png": 1, "sub/many.png": 50}
    assert [int(row["track"]) for row in rows] == list(range(1, 54))
    assert {row["time_s"] for row in rows} == {""}
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert written == ["a.png", "b.jpg.png", "sub/gray.png", "sub/many.png"]
    assert np.asarray(Image.open(tmp_path / "out" / "sub" / "gray.png")).shape == (360, 480, 3)


def test_no_two_pictures_are_written_to_one_file(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "in").mkdir()
    for name, gray in (("a.jpg", 10), ("a.jpg.png", 90), ("A.JPG", 170), ("a.jpg_2.png", 250)):
        Image.new("RGB", (64, 64), (gray, gray, gray)).save(tmp_path / "in" / name, "PNG")
    for complaint in ("", "passed over: 4 pictures in it, the output folder"):  # a second run does the same
        done = invoke("annotate", "--source", "in", "--out", "in/out", "--detector", "haar")
        assert done.returncode == 0 and complaint in done.stderr
    written = [np.asarray(Image.open(path)) for path in (tmp_path / "in" / "out").iterdir()]
    assert sorted(int(picture[0, 0, 0]) for picture in written) == [10, 90, 170, 250]
    kept = np.asarray(Image.open(tmp_path / "in" / "out" / "a.jpg.png"))
    assert kept[0, 0, 0] == 90  # a PNG keeps its name; a.jpg moves aside


def test_ctrl_c_finishes_the_files(faces: np.ndarray, tmp_path: Path) -> None:
    film(tmp_path / "film.mp4", faces, [[(100 + k % 40, 60, 200)] for k in range(400)])
    options = AnnotateOptions(
        str(tmp_path / "film.mp4"), str(tmp_path / "out.webm"), str(tmp_path / "out.csv"), detector="haar"
    )
    with stop_on_signal() as stop:
        result = annotate(
            options, lambda done, total: os.kill(os.getpid(), signal.SIGINT) if done == 10 else None, stop=stop
        )
    assert result.stopped
    assert 10 <= result.frames < 200
    source = VideoSource(str(tmp_path / "out.webm"))
    assert len(list(source.frames())) == result.frames
    source.close()
    assert len(rows_of(tmp_path / "out.csv")) == result.faces


def test_after_an_error_the_table_so_far_is_there_and_no_half_film(done: Path, tmp_path: Path) -> None:
    def fail(count: float, total: float) -> None:
        if count == 20:
            raise RuntimeError("lost")

    options = AnnotateOptions(
        str(done / "film.mp4"), str(tmp_path / "out.webm"), str(tmp_path / "out.csv"), detector="haar"
    )
    with pytest.raises(RuntimeError, match="lost"):
        annotate(options, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv.part"]
    os.rename(tmp_path / "out.csv.part", tmp_path / "out.csv")
    assert len(rows_of(tmp_path / "out.csv")) == 40


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["gone.mp4", "--csv", "o.csv"], 1, "gone.mp4: there is no such file"),
        (["junk.mp4", "--csv", "o.csv"], 1, "junk.mp4: is not a film that OpenCV can read"),
        (["cut.mp4", "--out", "o.mp4"], 1, "cut.mp4: is not a film that OpenCV can read"),
        (["97", "--csv", "o.csv"], 1, "camera 97: is not there"),
        (["empty", "--csv", "o.csv"], 1, "empty: holds no images"),
        (["junk.png", "--csv", "o.csv"], 1, "junk.png: is not a readable"),
        (["film.mp4"], 2, "give --out, --csv or --show"),
        (["film.mp4", "--out", "o.avi"], 2, "a film is written as .webm or .mp4"),
        (["film.mp4", "--out", "film.mp4"], 2, "is the source itself"),
        (["film.mp4", "--csv", "nowhere/o.csv"], 1, "its folder does not exist"),
        (["film.mp4", "--csv", "empty"], 2, "is a folder"),
        (["film.mp4", "--csv", "o.csv", "--detector", "best"], 2, "not one of auto, yunet, haar, lbp"),
        (["film.mp4", "--csv", "o.csv", "--model", "gone.keras"], 1, "gone.keras"),
    ],
)
def test_bad_input_is_one_clear_line(
    done: Path, tmp_path: Path, invoke: Invoke, arguments: list[str], code: int, text: str
) -> None:
    content = (done / "film.mp4").read_bytes()
    (tmp_path / "film.mp4").write_bytes(content)
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "junk.mp4").write_bytes(b"no film")
    (tmp_path / "junk.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    result = invoke("annotate", "--source", *arguments)
    assert result.returncode == code
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_films_in_folders_and_of_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    path = folder / os.fsdecode(b"\xe9t\xe9.mp4")
    with VideoFile(path, 64, 48, 25.0) as film:
        film.write(np.full((48, 64, 3), 90, np.uint8))
    source = VideoSource(str(path))
    assert [picture.shape for _, picture in source.frames()] == [(48, 64, 3)]
    assert source.name == r"\udce9t\udce9.mp4"
