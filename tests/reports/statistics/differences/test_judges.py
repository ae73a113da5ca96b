"""Agreement of judges: the numbers of scikit-learn and statsmodels, and what only we say."""

import numpy as np
import pytest
from fergan.reports.judges import JudgeLabels, judge_faces, judge_notes, judges_sentence
from fergan.reports.statistics.differences.judges import agreement_of, cohens_kappa, compare_judges, fleiss_kappa
from fergan.reports.statistics.table import LabelTable
from fergan.runtime.errors import DataError

LABELS = ("angry", "happy", "sad")


def judged(seed: int, n: int = 400, judges: int = 4, noise: float = 0.4) -> np.ndarray:
    """Labels [M, N] of judges who see the truth, and draw lots now and then."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=[0.15, 0.6, 0.25])
    lots = rng.choice(3, (judges, n), p=[0.3, 0.3, 0.4])
    return np.where(rng.random((judges, n)) < noise, lots, truth)


def table(codes: np.ndarray, classes: tuple[str, ...] = LABELS, names: list[str] | None = None) -> LabelTable:
    p = np.full((len(codes), len(classes)), 0.1)
    p[np.arange(len(codes)), codes] = 1 - 0.1 * (len(classes) - 1)
    faces = names or [f"{row}.png" for row in range(len(codes))]
    return LabelTable(classes, faces, None, codes, p.max(axis=1), p)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kappa_is_that_of_scikit_learn_and_statsmodels(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    raters = pytest.importorskip("statsmodels.stats.inter_rater")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    codes = judged(seed)
    ours = cohens_kappa(codes[0], codes[1], 3)
    assert ours is not None
    assert ours.value == pytest.approx(metrics.cohen_kappa_score(codes[0], codes[1]), abs=1e-12)
    joint = np.bincount(codes[0] * 3 + codes[1], minlength=9).reshape(3, 3)
    theirs = raters.cohens_kappa(joint)
    assert (ours.low, ours.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=1e-9)

    same = int((codes[0] == codes[1]).sum())
    raw = agreement_of(codes[0], codes[1])
    assert (raw.low, raw.high) == pytest.approx(proportion.proportion_confint(same, 400, method="wilson"), abs=1e-12)

    counts, _ = raters.aggregate_raters(codes.T)
    several = fleiss_kappa(codes, 3)
    assert several is not None
    assert several.value == pytest.approx(raters.fleiss_kappa(counts), abs=1e-12)
    rng = np.random.default_rng(0)
    draws = [fleiss_kappa(codes[:, rng.integers(0, 400, 400)], 3) for _ in range(600)]
    spread = np.std([draw.value for draw in draws if draw])
    assert (several.high - several.low) / (2 * 1.96) == pytest.approx(spread, rel=0.1)


def test_ninety_five_of_a_hundred_intervals_hold_fleiss_kappa() -> None:
    truth = fleiss_kappa(judged(99, n=400_000), 3)
    assert truth is not None
    found = [fleiss_kappa(judged(seed, n=150), 3) for seed in range(300)]
    held = sum(one.low <= truth.value <= one.high for one in found if one)
    assert 273 <= held <= 297  # 95 % of 300, within 3.5 standard deviations


def test_judges_of_one_mind_and_judges_who_say_one_thing() -> None:
    codes = judged(0, judges=1)[0]
    full = cohens_kappa(codes, codes, 3)
    assert full is not None and (full.value, full.high) == pytest.approx((1, 1))
    assert cohens_kappa(np.zeros(9), np.zeros(9), 3) is None
    assert fleiss_kappa(np.zeros((3, 9)), 3) is None


def test_labels_in_common_faces_in_common_and_the_faces_that_are_disputed() -> None:
    first = table(np.array([0, 1, 1, 2, 1]))
    # of another order, with contempt, and without the second face
    p = np.array([[0.1, 0.2, 0.6, 0.1], [0.5, 0.1, 0.3, 0.1], [0.0, 0.0, 0.1, 0.9], [0.1, 0.1, 0.2, 0.6]])
    second = LabelTable(
        ("contempt", "sad", "angry", "Happiness"),
        ["0.png", "2.png", "4.png", "3.png"],
        None,
        p.argmax(axis=1),
        p.max(axis=1),
        p,
    )
    canonical = [LABELS, ("contempt", "sad", "angry", "happy")]
    found = compare_judges(("a", "b"), (first, second), canonical)
    assert (found.classes, found.dropped) == (LABELS, ((), ("contempt",)))
    assert found.faces.tolist() == [0, 2, 3, 4]
    assert found.codes.tolist() == [[0, 1, 2, 1], [0, 0, 1, 1]]  # contempt first: the next best is angry
    assert found.most() == [2, 1]
    assert found.most(among=[0, 1, 2]) == [1]
    assert found.disagreement[1] == pytest.approx(0.5 * np.abs(np.array([0.1, 0.8, 0.1]) - [0.6, 0.2, 0.2]).sum())
    notes = judge_notes(judge_faces([JudgeLabels("a", first), JudgeLabels("b", second)]), [("c", "no numbers")])
    assert "c has no whole table of labels: no numbers" in notes[0] and "b knows contempt too" in notes[1]
    with pytest.raises(DataError, match="a and b have fewer than two labels in common"):
        judge_faces([JudgeLabels("a", first), JudgeLabels("b", table(np.array([0, 1]), ("open", "shut")))])
    with pytest.raises(DataError, match="no face was labelled by all"):
        judge_faces([JudgeLabels("a", first), JudgeLabels("b", table(np.array([0]), LABELS, ["x.png"]))])


def test_the_sentence_says_how_far_the_answer_depends_on_the_judge() -> None:
    def sentence(*rows: list[int]) -> str:
        given = zip("abc", rows, strict=False)
        samples = [JudgeLabels(name, table(np.repeat([0, 1, 2], row))) for name, row in given]
        return judges_sentence(judge_faces(samples)).replace("\N{NO-BREAK SPACE}", " ")

    assert "hardly depends on the judge: all 2 call happy most often" in sentence([10, 70, 20], [12, 68, 20])
    assert "the shares depend on the judge: happy runs from 50 % (b) to 70 % (a)" in sentence(
        [10, 70, 20], [20, 50, 30]
    )
    other = sentence([10, 70, 20], [50, 20, 30], [10, 60, 30])
    assert other.startswith("Which label is the most frequent depends on the judge (a says happy; b says angry; c says")
    assert "Fleiss’ κ" in other and "95 % interval" in other
