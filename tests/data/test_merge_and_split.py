"""Sets are merged by the names of labels; splits tear no person and no pair of copies apart."""

import numpy as np
import pytest
from fergan.data.face_set import FaceSet
from fergan.data.labels import FER2013
from fergan.data.merging import merge
from fergan.data.splits import split
from fergan.runtime.errors import UsageError


def make(names: tuple[str, ...], labels: list[int], usage: str = "", **more: object) -> FaceSet:
    images = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 48, 48), dtype=np.uint8)
    return FaceSet(images, np.array(labels), np.array([usage] * len(labels)), names, **more)  # type: ignore[arg-type]


def test_labels_keep_their_meaning_and_losses_are_told() -> None:
    one = make(FER2013, [0, 3, 6, 1], "Training", official=True)
    two = make(("contempt", "happy", "angry"), [0, 1, 2, 2], subjects=np.array(["S1", "S1", "S2", "S2"]))
    common = merge([one, two])
    assert common.label_names == ("angry", "happy")
    assert common.label_texts().tolist() == ["angry", "happy", "happy", "angry", "angry"]
    np.testing.assert_array_equal(common.images[2:], two.images[1:])
    assert common.record["left_out"] == [{"disgust": 1, "neutral": 1}, {"contempt": 1}]
    assert common.usage.tolist() == ["Training"] * 2 + [""] * 3 and not common.official
    assert common.subjects is not None and common.subjects.tolist() == ["", "", "2/S1", "2/S2", "2/S2"]
    assert merge([one, two], "all").label_names == (*FER2013, "contempt")
    assert len(merge([one, two], "fer2013")) == 7


def test_the_eighth_class_joins_fer2013() -> None:
    one, eighth = make(FER2013, list(range(7)), "Training"), make(("embarrassed",), [0, 0])
    with pytest.raises(UsageError, match="no label in common"):
        merge([one, eighth])
    both = merge([one, split(eighth, "1:1:0")], "embarrassed")
    assert both.label_names == (*FER2013, "embarrassed") and both.labels.tolist() == [*range(7), 7, 7]
    with pytest.raises(UsageError, match="'bored'"):
        merge([one, eighth], "bored,happy")


def test_a_person_is_in_one_split_only() -> None:
    people = np.repeat([f"S{number:03d}" for number in range(60)], 5)
    faces = make(FER2013, [0] * 300, subjects=people)
    parts = split(faces, "80:10:10", seed=1)
    sizes = {name: int((parts.usage == name).sum()) for name in ("train", "validation", "test")}
    assert sizes == {"train": 240, "validation": 30, "test": 30}
    homes = {(who, where) for who, where in zip(people, parts.usage, strict=True)}
    assert len(homes) == 60
    np.testing.assert_array_equal(split(faces, "80:10:10", seed=1).usage, parts.usage)
    assert (split(faces, "80:10:10", seed=2).usage != parts.usage).any()


def test_without_persons_classes_are_shared_out_and_copies_stay_together() -> None:
    faces = make(FER2013, [0] * 100 + [1] * 20)
    faces.images[50:60] = faces.images[40:50]
    parts = split(faces, "80:10:10")
    assert (parts.usage[40:50] == parts.usage[50:60]).all()
    assert [(parts.usage[100:] == name).sum() for name in ("train", "validation", "test")] == [16, 2, 2]


def test_official_is_refused_where_there_is_none() -> None:
    known = make(FER2013, [0], "Training", official=True)
    assert split(known, "official") is known
    with pytest.raises(UsageError, match="shuffled"):
        split(make(FER2013, [0], "train", record={"notes": ["shuffled"]}), "official")
    for wrong in ("80:20", "a:b:c", "-1:1:1", "0:1:1", "80"):
        with pytest.raises(UsageError, match="80:10:10"):
            split(known, wrong)
