"""Copies are found however they were cut, lit or mirrored; leaks, noise and lists do what they say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.data.audit.audit import COLUMNS, audit, leaks_to_drop
from fergan.data.audit.corrections import drop_rows, relabel
from fergan.data.audit.duplicates import near_duplicates
from fergan.data.audit.label_noise import find_label_noise
from fergan.data.audit.leaks import copies_in_training
from fergan.data.face_set import FaceSet
from fergan.data.readers.ferplus import ferplus_targets
from fergan.runtime.errors import DataError
from PIL import Image
from scipy.ndimage import gaussian_filter


def faces_like(count: int, seed: int = 0, side: int = 60) -> np.ndarray:
    """Smooth noise with detail at every scale: uint8 [count, side, side]."""
    rng = np.random.default_rng(seed)
    scales = [gaussian_filter(rng.normal(size=(count, side, side)), (0, s, s)) * s for s in (1, 2, 5, 10)]
    whole = sum(scales)
    return ((whole / whole.std() * 45) + 128).clip(0, 255).astype(np.uint8)


def cut(picture: np.ndarray, left: float, top: float, size: float) -> np.ndarray:
    box = (left, top, left + size, top + size)
    return np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.BICUBIC, box=box))


@pytest.fixture
def copies() -> np.ndarray:
    """Rows 0..19 different; 20..24 are copies of rows 0..4 in five ways; 25 flat."""
    wide = faces_like(20)
    plain = np.stack([cut(picture, 5, 5, 50) for picture in wide])
    changed = [
        plain[0],
        cut(wide[1], 6, 4, 50),  # shifted by a pixel
        cut(wide[2], 5.5, 5.5, 49),  # a little closer
        (plain[3] * 0.6 + 70).astype(np.uint8),  # duller and brighter
        plain[4][:, ::-1],
    ]
    return np.concatenate([plain, changed, np.full((1, 48, 48), 3, np.uint8)])


def test_the_same_photograph_is_found_in_every_guise(copies: np.ndarray) -> None:
    pairs = near_duplicates(copies)
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(row, 20 + row) for row in range(5)]
    assert pairs.mirrored.tolist() == [False, False, False, False, True]
    assert pairs.similarity[0] == pytest.approx(1, abs=1e-5) and (pairs.similarity[1:4] < 1).all()


def make(copies: np.ndarray) -> FaceSet:
    usage = np.array(
        ["Training"] * 20 + ["PublicTest", "Training", "PublicTest", "PrivateTest", "Training", "Training"]
    )
    labels = np.zeros(26, np.int64)
    labels[20] = 1
    return FaceSet(copies, labels, usage, ("angry", "happy"))


def test_judged_faces_with_copies_in_training(copies: np.ndarray) -> None:
    faces = make(copies)
    found = copies_in_training(faces, faces.usage != "Training")  # rows 20, 22 and 23
    assert found is not None
    copied, exact = found
    assert copied.tolist() == [True, True, True] and exact.tolist() == [True, False, False]
    everything = near_duplicates(copies)
    across = (everything.first < 3) & (everything.second >= 3)
    some = near_duplicates(copies, between=3)
    assert list(some.first) == list(everything.first[across]) == [0, 1, 2]
    assert list(some.second) == list(everything.second[across])
    assert copies_in_training(faces.take(faces.usage != "Training"), np.arange(3)) is None


def test_findings_tell_leaks_and_conflicts_and_what_to_drop(copies: np.ndarray) -> None:
    faces = make(copies)
    result = audit(faces, not_a_face=np.r_[np.zeros(25), 1.0])
    table = result.findings
    assert tuple(table.columns) == COLUMNS
    assert table["kind"].tolist() == ["exact_duplicate", *["near_duplicate"] * 4, "flat", "not_a_face"]
    assert table["leak"].fillna(False).tolist() == [True, False, True, True, False, False, False]
    assert table["conflict"].fillna(False).tolist() == [True] + [False] * 6
    assert result.summary["exact_copies"] == 1 and result.summary["near_duplicate_leaks"] == 2
    drop = leaks_to_drop(faces, table)
    assert drop["row"].tolist() == [0, 2, 3]  # Training gives way, test rows stay
    assert result.classes.loc["angry", "PublicTest"] == 1


def test_lists_are_applied_to_the_data_that_they_were_made_for(copies: np.ndarray, tmp_path: Path) -> None:
    faces = make(copies)
    leaks_to_drop(faces, audit(faces).findings).to_csv(tmp_path / "exclude.csv", index=False)
    rest = drop_rows(faces, tmp_path / "exclude.csv")
    assert len(rest) == 23 and not audit(rest).findings["leak"].fillna(False).any()
    with pytest.raises(DataError, match="another face"):
        drop_rows(faces.take(np.arange(26)[::-1]), tmp_path / "exclude.csv")
    (tmp_path / "labels.csv").write_text("row,label\n5,Happiness\n20,happy\n")
    changed, record = relabel(faces, tmp_path / "labels.csv")
    assert changed.labels[5] == 1 and faces.labels[5] == 0
    assert record[["row", "from", "to"]].to_numpy().tolist() == [[5, "angry", "happy"]]  # 20 was happy already
    for text, said in (
        ("row,label\n26,happy\n", "26"),
        ("row,label\n1,bored\n", "bored"),
        ("row\n1\n", "label"),
        (f"row,label\n{10**22},happy\n", "is not a row number"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=said):
            relabel(faces, tmp_path / "labels.csv")


def test_confident_learning_finds_the_labels_that_were_flipped() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 2000)
    given = true.copy()
    flipped = rng.choice(2000, 160, replace=False)
    given[flipped] = (true[flipped] + rng.integers(1, 4, 160)) % 4
    logits = rng.normal(0, 0.7, (2000, 4))
    logits[np.arange(2000), true] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    noise = find_label_noise(given, probabilities)
    right = np.isin(noise.rows, flipped)
    assert right.mean() > 0.95 and right.sum() > 100  # careful: a class must reach its own threshold
    assert (noise.suggested[right] == true[noise.rows[right]]).mean() > 0.95
    assert (np.diff(noise.margin) <= 0).all()


def test_confident_learning_agrees_with_cleanlab() -> None:
    count = pytest.importorskip("cleanlab.count")
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 3000)
    probabilities = rng.dirichlet(np.ones(5) * 0.5, 3000) * 0.6 + 0.4 * np.eye(5)[labels]
    joint, indices = count.compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    noise = find_label_noise(labels, probabilities)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(noise.joint[off], joint[off])
    assert set(noise.rows) <= set(indices)


def test_ferplus_targets_follow_the_trainers_rules() -> None:
    votes = pd.DataFrame(
        [
            [6, 1, 0, 3, 0, 0, 0, 0, 0, 0],  # the lone vote does not count: 6 and 3 of 9
            [4, 0, 0, 4, 0, 0, 0, 0, 2, 0],  # equals together hold 80 %
            [2, 0, 0, 0, 0, 0, 0, 0, 8, 0],  # unknown leads
            [0, 0, 3, 3, 0, 0, 2, 2, 0, 0],  # four labels: too many
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [3, 2, 2, 2, 0, 0, 0, 0, 1, 0],  # one label has 30 %, and a third of the votes
        ]
    ).to_numpy(float)
    majority, kept = ferplus_targets(votes, "majority")
    assert kept.tolist() == [True] + [False] * 5 and majority[0].tolist() == [1] + [0] * 7
    soft, kept = ferplus_targets(votes, "crossentropy")
    assert kept.tolist() == [True, True] + [False] * 4
    np.testing.assert_allclose(soft[0, [0, 3]], [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(soft[1, [0, 3]], [0.5, 0.5])
    several, kept = ferplus_targets(votes, "multi_target")
    assert kept.tolist() == [True, True, False, True, False, False] and several[3, [2, 3]].tolist() == [0.5, 0.5]
    draws = np.mean([ferplus_targets(votes, "probability", seed)[0][0] for seed in range(300)], axis=0)
    assert draws[0] == pytest.approx(2 / 3, abs=0.09) and draws[0] + draws[3] == pytest.approx(1)
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    np.testing.assert_array_equal(ferplus_targets(shares, "crossentropy")[0], soft)


def test_ferplus_keeps_as_many_rows_as_published(data_folder: Path) -> None:
    """Kept rows of Training and PublicTest, counted on the official file."""
    table = pd.read_csv(data_folder / "fer2013" / "labels.csv")
    columns = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    training = table["Usage"].eq("Training").to_numpy()
    published = {
        "majority": (25060, 3199),
        "probability": (27956, 3505),
        "crossentropy": (27956, 3505),
        "multi_target": (27671, 3472),
    }
    for mode, counts in published.items():
        kept = ferplus_targets(table[columns].to_numpy(float), mode)[1]
        assert (int(kept[training].sum()), int(kept[~training].sum())) == counts
