from typing import Any

import numpy as np
import pytest
from fergan.reports.conclusions import conclude
from fergan.reports.correction import BLIND_SPOT, REFUTED_REFERENCE, correct
from fergan.reports.findings import evaluate
from fergan.reports.markdown import markdown
from fergan.reports.pages.report import build_report
from fergan.reports.statistics.correction.agreement import agreement_test
from fergan.reports.statistics.correction.prevalence import Validation, estimate_prevalence
from fergan.reports.statistics.differences.comparison import compare_to_reference
from fergan.reports.statistics.differences.distance import corrected_distance
from fergan.reports.statistics.differences.references import as_labelled, reference
from fergan.reports.statistics.table import LabelTable

from .conftest import CLASSES
from .markup import Page
from .simulated import ANSWERS, FER2013_SHARES, FERNET, HAPPY_AND_NEUTRAL, LABELS, faces, labelled, validation

PUBLIC = Validation("PublicTest", LABELS, ANSWERS)


def table(p: np.ndarray) -> LabelTable:
    return LabelTable(CLASSES, tuple(f"{i}.png" for i in range(len(p))), None, p.argmax(axis=1), p.max(axis=1), p)


def softened(p: np.ndarray, temperature: float) -> np.ndarray:
    p = np.maximum(p, 1e-7) ** (1 / temperature)
    return p / p.sum(axis=1, keepdims=True)


def bare_run(rng: np.random.Generator) -> np.ndarray:
    """500 faces with the labels of a run of stylegan2-faces-64, which no shares explain."""
    return labelled([1, 0, 0, 318, 16, 0, 165], rng)


def report(p: np.ndarray) -> Any:
    return build_report(table(p), settings={}, load_face=None, created="x", validation=PUBLIC)


def test_soft_confidences_strike_em_and_pacc_and_leave_acc() -> None:
    rng = np.random.default_rng(0)
    p = faces(HAPPY_AND_NEUTRAL, 500, rng)
    assert correct(table(p), PUBLIC).doubts == {}
    soft = correct(table(softened(p, 1.5)), PUBLIC)
    assert soft.label_shift.verdict == "holds" and soft.depth.verdict == "less sure"
    assert set(soft.doubts) == {"PACC", "EM"} and "less sure" in soft.doubts["EM"]
    assert soft.agreement.p_value < 0.01
    assert soft.prevalence["ACC"].shares[1] < 0.05 and soft.prevalence["EM"].shares[1] > 0.4  # disgust: 0 and 58 %
    made = report(softened(p, 1.5))
    page, text = Page(made.html), markdown(made.data)
    assert "Corrected (EM) is struck" in page.text and "Corrected (ACC) does not stand" not in page.text
    assert set(made.data["corrected"]["doubts"]) == {"PACC", "EM"}
    assert "- EM does not stand" in text and "~~" not in text
    assert "PublicTest did for the bundled classifiers" in page.text
    assert BLIND_SPOT in page.text and BLIND_SPOT in text


def test_a_refuted_correction_is_not_quoted_anywhere_as_if_it_stood() -> None:
    made = report(bare_run(np.random.default_rng(1)))
    assert made.data["label_shift"]["verdict"] == "refuted"
    assert set(made.data["corrected"]["doubts"]) == {"ACC", "PACC", "EM"}
    bearing = conclude(evaluate(table(bare_run(np.random.default_rng(1))), validation=PUBLIC))[1].sentence
    happy = made.data["corrected"]["methods"]["ACC"]["happy"]["share"]
    assert "refute" in bearing and f"{100 * happy:.1f}" not in bearing
    page = Page(made.html)
    assert " ".join(bearing.split()) in page.text and "All corrected shares are struck" in page.text
    assert "diamond" not in page.text and REFUTED_REFERENCE in page.text
    struck = [tag for tag, _ in page.elements].count("s")
    assert struck == 7 * (3 + 3), "three corrections, and share, interval and chance of the Bayesian shares"
    assert "likeliest order" not in page.text and "Faces needed" not in page.text and "2401 of them" in page.text
    text = markdown(made.data)
    assert f"~~{100 * happy:.1f} %" in text and "endless faces" not in text
    assert REFUTED_REFERENCE in text
    stands = report(faces(HAPPY_AND_NEUTRAL, 500, np.random.default_rng(0)))
    assert REFUTED_REFERENCE not in Page(stands.html).text and REFUTED_REFERENCE not in markdown(stands.data)


def test_intervals_are_not_stretched_and_a_share_outside_raises_the_alarm() -> None:
    found = correct(table(bare_run(np.random.default_rng(2))), PUBLIC)
    acc = found.prevalence["ACC"]
    assert acc.shares[6] < acc.low[6] and 6 in acc.outside and found.refuted
    for n in (30, 500, 50_000):
        p = faces(HAPPY_AND_NEUTRAL, n, np.random.default_rng(n))
        for one in estimate_prevalence(p, LABELS, ANSWERS, methods=("ACC", "PACC", "EM")).estimates:
            assert one.joint_low.sum() <= 1 <= one.joint_high.sum()
            # each limit can be reached by shares that respect all other limits
            assert (one.joint_low + one.joint_high.sum() - one.joint_high >= 1 - 1e-9).all()
            assert (one.joint_high + one.joint_low.sum() - one.joint_low <= 1 + 1e-9).all()


def test_an_interval_is_printed_as_it_is() -> None:
    """A run of stylegan2-faces-64 and all validation faces: PACC says 38.5 % (46.0–61.5) of neutral."""
    mean = np.array([0.0392, 0.0109, 0.0179, 0.5248, 0.0718, 0.0143, 0.3211])
    with np.load(FERNET) as stored:
        labels, answers = stored["labels"].astype(np.int64), stored["probabilities"]
    found = estimate_prevalence(np.tile(mean, (500, 1)), labels, answers, methods=("PACC",))["PACC"]
    assert [found.shares[6], found.low[6], found.high[6]] == pytest.approx([0.385, 0.460, 0.615], abs=0.001)
    assert 6 in found.outside and 6 not in found.beside  # outside the limits for all labels too: struck


def test_a_share_outside_its_interval_but_within_the_joint_limits_gets_a_note() -> None:
    p = labelled([20, 4, 15, 15, 39, 3, 204], np.random.default_rng(0))
    acc = estimate_prevalence(p, LABELS, ANSWERS, methods=("ACC",))["ACC"]
    assert acc.shares[1] < acc.low[1] and acc.beside.tolist() == [1] and not len(acc.outside)
    made = report(p)
    note = made.data["corrected"]["beside"]
    assert made.data["label_shift"]["verdict"] == "holds" and "share of disgust (ACC)" in note
    assert note in Page(made.html).text and "share of disgust" in markdown(made.data)


def test_all_labels_at_once_hold_together() -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(150):
        v = validation(rng)
        acc = estimate_prevalence(faces(HAPPY_AND_NEUTRAL, 300, rng), v.labels, v.probabilities, methods=("ACC",))[
            "ACC"
        ]
        held.append(((acc.joint_low <= HAPPY_AND_NEUTRAL) & (acc.joint_high >= HAPPY_AND_NEUTRAL)).all())
    assert np.mean(held) > 0.91


def test_ten_validation_faces_a_class_still_cover() -> None:
    rng = np.random.default_rng(4)
    held = []
    for _ in range(100):
        v = validation(rng, 10)
        acc = estimate_prevalence(faces(HAPPY_AND_NEUTRAL, 500, rng), v.labels, v.probabilities, methods=("ACC",))[
            "ACC"
        ]
        held.append((acc.low <= HAPPY_AND_NEUTRAL) & (acc.high >= HAPPY_AND_NEUTRAL))
    assert np.mean(held) > 0.93 and np.mean(held, axis=0).min() >= 0.9
    notes = build_report(
        table(faces(HAPPY_AND_NEUTRAL, 50, rng)),
        settings={},
        load_face=None,
        created="x",
        validation=validation(rng, 10),
    ).data["notes"]
    assert any("Fewer than 50 validation faces show angry (10)" in note for note in notes)


@pytest.mark.parametrize("n", [500, 5000])
def test_a_run_with_exactly_the_references_expressions_is_not_rejected(n: int) -> None:
    rng = np.random.default_rng(n)
    against = reference("fer2013", CLASSES)
    raw, labelled, drifted, far = [], [], [], []
    for number in range(60):
        counts = np.bincount(faces(FER2013_SHARES, n, rng).argmax(axis=1), minlength=7)
        unlike = compare_to_reference(counts, CLASSES, against, seed=number)
        raw.append(unlike.test.p_value < 0.05)
        drifted.append(unlike.total_variation.low > 0.02)
        found = compare_to_reference(counts, CLASSES, as_labelled(against, validation(rng), seed=number), seed=number)
        labelled.append(found.test.p_value < 0.05)
        far.append(found.total_variation.low > 0.02)
    assert np.mean(labelled) <= 0.15 and np.mean(far) <= 0.1
    assert np.mean(raw) > (0.2 if n == 500 else 0.95)  # apples and pears
    assert np.mean(drifted) > (0.2 if n == 500 else 0.95)
    other = np.bincount(faces(HAPPY_AND_NEUTRAL, n, rng).argmax(axis=1), minlength=7)
    assert compare_to_reference(other, CLASSES, as_labelled(against, PUBLIC)).test.p_value < 0.001


def test_the_three_methods_agree_under_label_shift() -> None:
    rng = np.random.default_rng(5)
    alarms = []
    for number in range(60):
        v = validation(rng)
        p = faces(HAPPY_AND_NEUTRAL, 300, rng)
        acc = estimate_prevalence(p, v.labels, v.probabilities, methods=("ACC",))["ACC"]
        alarms.append(agreement_test(p, v, acc.shares, draws=199, seed=number).p_value < 0.05)
    assert np.mean(alarms) < 0.15


def test_an_expression_without_validation_faces_is_the_reason_that_is_given() -> None:
    seen = LABELS != 1
    lacking = Validation("PublicTest", LABELS[seen], ANSWERS[seen])
    found = evaluate(table(faces(HAPPY_AND_NEUTRAL, 60, np.random.default_rng(0))), validation=lacking)
    sentence = conclude(found)[1].sentence
    assert "show no disgust" in sentence and "there are no labelled faces" not in sentence


def test_a_corrected_distance_has_limits_that_are_possible() -> None:
    p = labelled([0, 0, 0, 500, 0, 0, 0], np.random.default_rng(0))
    found = corrected_distance((p, PUBLIC), reference("uniform", CLASSES))
    assert found.low <= found.high <= 6 / 7 + 1e-9
