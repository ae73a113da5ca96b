"""Each data set is told by its files and read as its publishers laid it out; names decide the class."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from fergan.data.face_set import role
from fergan.data.images import write_png
from fergan.data.labels import FER2013
from fergan.data.readers import read_faces
from fergan.runtime.errors import DataError

RNG = np.random.default_rng(0)


def picture(path: Path, side: int = 48, channels: int = 1) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (side, side, channels), dtype=np.uint8)
    write_png(path, pixels)  # lossless, also under the name of a JPEG: the contents tell the format
    return pixels[:, :, 0]


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        picture(folder / name)


def of(faces, name: str) -> tuple[str, str]:
    """(label, split) of the face with that name."""
    (row,) = np.flatnonzero(np.char.endswith(faces.row_names(), name))
    return faces.label_names[faces.labels[row]], str(faces.usage[row])


def test_msambare_file_names_give_the_official_split_back(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "train" / "surprise" / "Training_10013223.jpg")
    picture(tmp_path / "test" / "angry" / "PublicTest_10101594.jpg")
    picture(tmp_path / "test" / "angry" / "PrivateTest_10131363.jpg")
    picture(tmp_path / "test" / "neutral" / "PrivateTest_10086748.jpg")
    faces = read_faces(tmp_path)
    assert faces.official and faces.label_names == (
        "angry",
        "surprise",
        "neutral",
    )  # FER2013's order, not the alphabet's
    assert of(faces, "PublicTest_10101594.jpg") == ("angry", "PublicTest")
    assert of(faces, "PrivateTest_10131363.jpg") == ("angry", "PrivateTest")
    assert of(faces, "PrivateTest_10086748.jpg") == ("neutral", "PrivateTest")
    assert of(faces, "Training_10013223.jpg") == ("surprise", "Training")
    np.testing.assert_array_equal(faces.split("Training").images[0], pixels)  # 48x48 gray passes unchanged
    assert faces.record["preparation"]["crop"] == "none"


def test_splits_and_classes_in_any_spelling_of_their_folders(tmp_path: Path) -> None:
    folders = {
        "FER_Train/0_angry": ("angry", "train"),
        "train2/fold_1/3 - Happy": ("happy", "train"),
        "VALID/angry/fold_2": ("angry", "validation"),
        "Dev/happy1": ("happy", "validation"),
        "eval-images/Anger": ("angry", "validation"),
        "TestData/happy": ("happy", "test"),
        "train_images/test/angry": ("angry", "test"),  # the nearest one counts
        "unlabelled/angry": ("angry", ""),
    }
    for number, folder in enumerate(folders):
        picture(tmp_path / folder / f"a{number}.png")
    faces = read_faces(tmp_path)
    assert faces.label_names == ("angry", "happy") and not faces.official
    assert {folder: of(faces, f"/a{number}.png") for number, folder in enumerate(folders)} == folders
    assert "1 of 8 pictures lie in no folder of a split" in faces.record["notes"][0]


def test_jonathanoheix_never_claims_fer2013s_test_splits(tmp_path: Path) -> None:
    for number, folder in enumerate(("train/happy", "train/sad", "validation/happy", "validation/fear")):
        picture(tmp_path / "images" / folder / f"{number}.jpg")
    faces = read_faces(tmp_path)
    assert not faces.official and set(faces.usage) == {"train", "validation"}
    assert "shuffled" in faces.record["notes"][0]


def test_apollo2506_doubled_folders_and_suprise(tmp_path: Path) -> None:
    for name in ("Angry", "Fear", "Happy", "Neutral", "Sad", "Suprise"):
        picture(tmp_path / "Training" / "Training" / name / f"{name}1.jpg")
        picture(tmp_path / "Testing" / "Testing" / name / f"{name}2.jpg")
    faces = read_faces(tmp_path)
    assert faces.label_names == tuple(name for name in FER2013 if name != "disgust")
    assert of(faces, "Suprise1.jpg") == ("surprise", "train") and of(faces, "Suprise2.jpg") == ("surprise", "test")


def test_ckplus_csv_has_an_eighth_class_and_its_own_splits(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 2304)
    rows = [
        f"{emotion},{pixels},{usage}" for emotion, usage in ((7, "Training"), (6, "PublicTest"), (0, "PrivateTest"))
    ]
    (tmp_path / "ckextended.csv").write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    faces = read_faces(tmp_path)  # the folder of the download
    assert faces.label_texts().tolist() == ["contempt", "neutral", "angry"]
    assert faces.usage.tolist() == ["train", "validation", "test"] and not faces.official
    assert role(faces.usage).tolist() == role(np.array(["Training", "PublicTest", "PrivateTest"])).tolist()


def test_ck48_knows_its_persons(tmp_path: Path) -> None:
    for name in ("anger/S010_004_00000017.png", "anger/S010_004_00000018.png", "contempt/S138_008_00000007.png"):
        picture(tmp_path / "CK+48" / name)
    faces = read_faces(tmp_path / "CK+48")
    assert faces.record["layout"] == "CK+48" and set(faces.usage) == {""}
    assert faces.subjects is not None and faces.subjects.tolist() == ["S010", "S010", "S138"]
    assert faces.label_texts().tolist() == ["angry", "angry", "contempt"]


def test_original_ckplus_takes_the_last_frames_of_labelled_sequences(tmp_path: Path) -> None:
    for sequence, frames in (("S005/001", 5), ("S005/002", 4), ("S010/001", 4)):
        for frame in range(1, frames + 1):
            picture(tmp_path / "cohn-kanade-images" / sequence / f"{sequence.replace('/', '_')}_{frame:08d}.png", 96)
    for sequence, text in (("S005/001", "   3.0000000e+00\n"), ("S010/001", "   7.0000000e+00\n")):
        folder = tmp_path / "Emotion" / sequence
        folder.mkdir(parents=True)
        (folder / f"{sequence.replace('/', '_')}_00000005_emotion.txt").write_text(text)
    (tmp_path / "Emotion" / "S005" / "002").mkdir()  # an unlabelled sequence has an empty folder
    landmarks = tmp_path / "Landmarks" / "S005" / "001"
    landmarks.mkdir(parents=True)
    (landmarks / "S005_001_00000005_landmarks.txt").write_text("  3.1e+02  1.9e+02\n" * 68)
    faces = read_faces(tmp_path, crop="none")
    assert faces.label_texts().tolist() == ["disgust"] * 3 + ["surprise"] * 3
    assert faces.row_names()[:3].tolist() == [f"S005/001/S005_001_{frame:08d}.png" for frame in (3, 4, 5)]
    assert faces.subjects is not None and set(faces.subjects) == {"S005", "S010"}
    for of_macos in (tmp_path / "Emotion").rglob("*.txt"):
        of_macos.with_name(f"._{of_macos.name}").write_bytes(b"\0\5\x16\7\0\2\xff\xfe")
    assert read_faces(tmp_path, crop="none").label_texts().tolist() == faces.label_texts().tolist()
    (tmp_path / "Emotion" / "S010" / "001" / "S010_001_00000005_emotion.txt").write_text("happy")
    with pytest.raises(DataError, match="S010_001_00000005_emotion.txt"):
        read_faces(tmp_path)


def test_affectnet_csv_cuts_the_face_box_and_drops_what_is_no_expression(tmp_path: Path) -> None:
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    big = np.zeros((100, 120, 3), np.uint8)
    big[20:80, 40:100] = 255
    (tmp_path / "Manually_Annotated_Images" / "103").mkdir(parents=True)
    write_png(tmp_path / "Manually_Annotated_Images" / "103" / "a.png", big)
    picture(tmp_path / "Manually_Annotated_Images" / "103" / "b.png", 60, 3)
    (tmp_path / "training.csv").write_text(
        f"{header}103/a.png,40,20,60,60,1.0;2.0,6,-0.5,0.5\n103/a.png,0,0,9,9,1;2,10,-2,-2\n"
    )
    (tmp_path / "validation.csv").write_text(f"{header}103/b.png,0,0,60,60,1.0;2.0,7,-0.5,0.5\n")
    faces = read_faces(tmp_path)
    assert faces.label_texts().tolist() == ["angry", "contempt"] and faces.usage.tolist() == ["train", "validation"]
    assert (faces.images[0] == 255).all() and faces.official
    assert faces.record["left_out"] == {"none, uncertain or no face": 1}
    (tmp_path / "validation.csv").write_text(f"{header}103/gone.png,0,0,60,60,1;2,7,-0.5,0.5\n")
    with pytest.raises(DataError, match="gone.png"):
        read_faces(tmp_path)
    (tmp_path / "validation.csv").write_text(f"{header},0,0,60,60,1;2,7,-0.5,0.5\n")
    with pytest.raises(DataError, match="validation.csv: .*line 2 names no picture"):
        read_faces(tmp_path)
    (tmp_path / "validation.csv").write_text(f"{header}103/b.png,,0,30,30,1;2,7,-0.5,0.5\n")
    origins = read_faces(tmp_path).origins
    assert origins is not None and [origin.box for origin in origins] == [(40, 20, 100, 80), None]


def test_affectnet_annotation_files(tmp_path: Path) -> None:
    for folder, name, code in (("train_set", "0", "7"), ("train_set", "10", "9"), ("val_set", "0", 3)):
        picture(tmp_path / folder / "images" / f"{name}.jpg", 64, 3)
        (tmp_path / folder / "annotations").mkdir(exist_ok=True)
        for kind in ("exp", "val"):  # the release keeps expressions as text
            np.save(tmp_path / folder / "annotations" / f"{name}_{kind}.npy", np.array(code))
    faces = read_faces(tmp_path)
    assert faces.label_texts().tolist() == ["contempt", "surprise"] and faces.usage.tolist() == ["train", "validation"]
    damaged = tmp_path / "val_set" / "annotations" / "0_exp.npy"
    np.save(tmp_path / "complex.npy", np.array(1 + 2j))
    for content in (b"", b"PK\3\4", (tmp_path / "complex.npy").read_bytes()):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match="0_exp.npy: is missing or not an AffectNet expression"):
            read_faces(tmp_path)


def test_rafdb_published_and_from_kaggle(tmp_path: Path) -> None:
    labels = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("train_00001.jpg 5\ntrain_00002.jpg 1\ntest_0001.jpg 7\n")
    for name, code in (("train_00001", 5), ("train_00002", 1), ("test_0001", 7)):
        picture(tmp_path / "basic" / "Image" / "aligned" / f"{name}_aligned.jpg", 100, 3)
        picture(tmp_path / "kaggle" / "DATASET" / name.split("_")[0] / str(code) / f"{name}_aligned.jpg", 100, 3)
    for faces in (read_faces(tmp_path / "basic"), read_faces(tmp_path / "kaggle")):
        assert faces.official and faces.images.shape == (3, 48, 48)
        assert of(faces, "train_00001_aligned.jpg") == ("sad", "train")
        assert of(faces, "train_00002_aligned.jpg") == ("surprise", "train")
        assert of(faces, "test_0001_aligned.jpg") == ("neutral", "test")
    labels.write_text("train_00001.jpg 0\n")
    with pytest.raises(DataError, match="line 1"):
        read_faces(tmp_path / "basic")


def test_jaffe_file_names(tmp_path: Path) -> None:
    for name in ("KA.AN1.39.tiff", "KA.SU2.37.tiff", "YM.NE3.51.tiff"):
        picture(tmp_path / name, 256)
    faces = read_faces(tmp_path, crop="none")
    assert faces.label_texts().tolist() == ["angry", "surprise", "neutral"]
    assert faces.subjects is not None and faces.subjects.tolist() == ["KA", "KA", "YM"]


def test_a_folder_needs_names_of_classes(tmp_path: Path) -> None:
    picture(tmp_path / "flat" / "a.png")
    with pytest.raises(DataError, match="LABEL="):
        read_faces(tmp_path / "flat")
    assert read_faces(f"Embarassed={tmp_path / 'flat'}").label_names == ("embarrassed",)
    picture(tmp_path / "numbers" / "train" / "0" / "a.png")
    with pytest.raises(DataError, match="is a number"):
        read_faces(tmp_path / "numbers")
    picture(tmp_path / "own" / "bored" / "a.png")
    picture(tmp_path / "own" / "Happiness" / "val" / "b.png", 80, 3)
    faces = read_faces(tmp_path / "own")
    assert faces.label_names == ("happy", "bored") and set(faces.usage) == {"", "validation"}
    with pytest.raises(DataError, match="does not exist"):
        read_faces(tmp_path / "gone")


def test_ck_within_a_word_does_not_make_fer2013_a_ckplus(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 2304)
    text = f'"emotion"," Usage"," pixels"\n"3","PublicTest","{pixels}"\n'  # all fields quoted, blanks inside
    for name, layout in (("fer2013_backup", "fer2013 csv"), ("ck_plus", "CK+ csv"), ("CKextended", "CK+ csv")):
        (tmp_path / f"{name}.csv").write_text(text)
        faces = read_faces(tmp_path / f"{name}.csv")
        assert faces.record["layout"] == layout and faces.official == (layout == "fer2013 csv")


def test_folders_named_by_usage_give_the_official_split(tmp_path: Path) -> None:
    for name in ("Training/happy/1.png", "PublicTest/sad/2.png", "Private_Test/sad/3.png"):
        picture(tmp_path / name)
    faces = read_faces(tmp_path)
    assert faces.official and of(faces, "1.png") == ("happy", "Training")
    assert of(faces, "2.png") == ("sad", "PublicTest") and of(faces, "3.png") == ("sad", "PrivateTest")


def test_one_picture_of_another_name_is_noted_and_the_rest_keeps_its_layout(tmp_path: Path) -> None:
    for name in ("train/happy/Training_1.png", "test/sad/PublicTest_2.png", "test/sad/PrivateTest_3.png"):
        picture(tmp_path / "fer" / name)
    picture(tmp_path / "fer" / "train" / "happy" / "aug_1.png")
    faces = read_faces(tmp_path / "fer")
    assert faces.official and "aug_1.png" in faces.record["notes"][1] and of(faces, "aug_1.png")[1] == "train"
    assert of(faces, "PrivateTest_3.png") == ("sad", "PrivateTest")
    for name in ("KA.AN1.39.png", "KA.SU2.37.png", "readme.png"):
        picture(tmp_path / "jaffe" / name)
    faces = read_faces(tmp_path / "jaffe", crop="none")
    assert faces.label_texts().tolist() == ["angry", "surprise"] and "readme.png" in faces.record["notes"][0]


def test_one_picture_of_another_name_leaves_ckplus_rafdb_and_affectnet_what_they_are(tmp_path: Path) -> None:
    ck, raf, affect = tmp_path / "ck", tmp_path / "raf", tmp_path / "affect"
    pictures(
        ck,
        "happy/S010_004_00000016.png",
        "happy/S010_004_00000017.png",
        "anger/S011_001_00000014.png",
        "readme.png",
        "anger/copy.png",
    )
    pictures(raf, "train/5/train_00001_aligned.jpg", "test/4/test_0002_aligned.jpg", "cover.png")
    pictures(affect, "train_set/images/1.png", "train_set/images/2.png", "train_set/images/thumb.png")
    (affect / "train_set/annotations").mkdir()
    for number in (1, 2):
        np.save(affect / f"train_set/annotations/{number}_exp.npy", np.array(str(number)))
    for folder, layout, count in ((ck, "CK+48", 3), (raf, "RAF-DB", 2), (affect, "AffectNet npy", 2)):
        faces = read_faces(folder)
        assert (faces.record["layout"], len(faces)) == (layout, count)
        assert faces.record["notes"][0].startswith("left out: ")


def test_a_picture_under_two_classes_is_left_out_and_said(tmp_path: Path) -> None:
    aligned = [f"Image/aligned/train_0000{n}_aligned.jpg" for n in (1, 2)]
    pictures(tmp_path, *aligned)
    (tmp_path / "EmoLabel").mkdir()
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text(
        "train_00001.jpg 5\ntrain_00002.jpg 1\ntrain_00001.jpg 4\n", "utf-8-sig"
    )
    faces = read_faces(tmp_path)
    assert faces.row_names().tolist() == ["train_00002_aligned.jpg"]
    assert "train_00001_aligned.jpg (sad and happy)" in faces.record["notes"][0]


def test_pictures_that_cannot_be_read_here_are_left_out_and_said(tmp_path: Path) -> None:
    pictures(tmp_path / "set", "happy/1.png", "sad/2.png")
    (tmp_path / "set" / "happy" / "3.png").symlink_to(tmp_path / "nowhere.png")
    faces = read_faces(tmp_path / "set")
    assert len(faces) == 2 and "1 of 3 images cannot be read here, such as happy/3.png" in faces.record["notes"][0]


def test_a_zip_with_backslashes_has_folders(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("train\\happy\\1.png", (tmp_path / "1.png").read_bytes())
    assert of(read_faces(tmp_path / "x.zip"), "1.png") == ("happy", "train")
