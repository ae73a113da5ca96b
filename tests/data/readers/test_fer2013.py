"""FER2013 files in their published spellings, and the ways in which they go wrong."""

from pathlib import Path

import numpy as np
import pytest
from fergan.data.readers.fer2013 import read_fer2013
from fergan.data.readers.ferplus import COLUMNS, read_ferplus
from fergan.runtime.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 48, 48), dtype=np.uint8)
LABELS = [0, 6, 3, 1]
USAGES = ["Training", "Training", "PublicTest", "PrivateTest"]
PIXELS = [" ".join(map(str, image.ravel())) for image in IMAGES]
OFFICIAL = [f"{e},{p},{u}" for e, p, u in zip(LABELS, PIXELS, USAGES, strict=True)]


def write(path: Path, header: str, rows: list[str], end: str = "\n") -> Path:
    path.write_bytes((end.join([header, *rows]) + end).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_official_file(tmp_path: Path, end: str) -> None:
    faces = read_fer2013(write(tmp_path / "fer2013.csv", "emotion,pixels,Usage", OFFICIAL, end))
    assert np.array_equal(faces.images, IMAGES)
    assert faces.labels.tolist() == LABELS
    assert faces.usage.tolist() == USAGES
    assert faces.label_names[3] == "happy"
    assert len(faces.split("Training")) == 2


def test_icml_spelling_has_other_names_and_another_order(tmp_path: Path) -> None:
    rows = [f"{e}, {u}, {p}" for e, p, u in zip(LABELS, PIXELS, USAGES, strict=True)]
    faces = read_fer2013(write(tmp_path / "icml_face_data.csv", "emotion, Usage, pixels", rows))
    assert np.array_equal(faces.images, IMAGES)
    assert faces.usage.tolist() == USAGES


def test_quoted_pixels_and_odd_spacing(tmp_path: Path) -> None:
    rows = [OFFICIAL[0].replace(PIXELS[0], f'" {PIXELS[0].replace(" ", "  ", 5)} "'), *OFFICIAL[1:]]
    assert np.array_equal(read_fer2013(write(tmp_path / "f.csv", "emotion,pixels,Usage", rows)).images, IMAGES)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (OFFICIAL[2].rsplit(" ", 1)[0] + ",PublicTest", "2303 pixels, expected 2304"),
        (OFFICIAL[2].replace("3,", "7,", 1), "emotion '7'"),
        (OFFICIAL[2].replace("PublicTest", "Test"), "Usage 'Test'"),
        ("3," + " ".join(["256"] + ["0"] * 2303) + ",PublicTest", "pixel '256'"),
        ("3," + " ".join(["-1"] + ["0"] * 2303) + ",PublicTest", "pixel '-1'"),
        ("3," + " ".join(["1.5"] + ["0"] * 2303) + ",PublicTest", "pixel '1.5'"),
        ("3," + " ".join(["9" * 5000] + ["0"] * 2303) + ",PublicTest", "pixel '9"),
        ("3,,PublicTest", "0 pixels"),
        ("3,1 2 3", "2 columns, expected 3"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: str, said: str) -> None:
    path = write(tmp_path / "fer2013.csv", "emotion,pixels,Usage", [*OFFICIAL[:2], row, OFFICIAL[3]])
    with pytest.raises(DataError, match=r"fer2013\.csv: line 4: ") as error:
        read_fer2013(path)
    assert said in str(error.value)


@pytest.mark.parametrize("content", [b"", b"emotion,pixels,Usage\n", b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_is_no_fer2013_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="x.csv"):
        read_fer2013(path)
    with pytest.raises(DataError, match="missing.csv"):
        read_fer2013(tmp_path / "missing.csv")


def test_ferplus_votes_belong_to_the_same_rows(tmp_path: Path) -> None:
    votes = ["4,0,0,1,3,2,0,0,0,0", "0,0,0,0,0,0,0,0,0,0", "0,10,0,0,0,0,0,0,0,0", "1,1,1,1,1,1,1,1,1,1"]
    rows = [f"{u},fer{i:07d}.png,{v}" for i, (u, v) in enumerate(zip(USAGES, votes, strict=True))]
    path = write(tmp_path / "fer2013new.csv", "Usage,Image name," + ",".join(COLUMNS), rows)
    shares = read_ferplus(path, np.array(USAGES))
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(axis=1), [1, 0, 1, 1])
    assert np.allclose(shares[0, [0, 4]], [0.4, 0.3])
    with pytest.raises(DataError, match="Usage columns differ"):
        read_ferplus(path, np.array(USAGES[::-1]))
    for vote in ("x", "", "-9", "inf"):
        write(path, "Usage,Image name," + ",".join(COLUMNS), [*rows[:2], rows[2].replace("10", vote), rows[3]])
        with pytest.raises(DataError, match="fer2013new.csv: line 4: a vote is not a number"):
            read_ferplus(path, np.array(USAGES))
