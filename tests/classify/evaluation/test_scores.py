"""Scores against scikit-learn and statsmodels, calibration by hand, views and heat maps where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from fergan.classify.evaluation import scores as evaluation
from fergan.classify.evaluation.calibration import (
    NotScalable,
    apply_temperature,
    cross_fitted,
    divide_logits,
    find_heads,
    fit_temperature,
)
from fergan.classify.evaluation.views import TEN, predict_views, window
from fergan.data.face_set import confusion_counts

K = 5


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [400, 5] that are right more often than not, with ties, and labels; class 3 is rare."""
    rng = np.random.default_rng(1)
    labels = rng.choice(K, 400, p=[0.3, 0.3, 0.2, 0.02, 0.18])
    p = rng.dirichlet(np.ones(K), 400) + 0.6 * np.eye(K)[labels] * rng.random((400, 1))
    p = (p / p.sum(axis=1, keepdims=True)).round(2) + 1e-3
    return p / p.sum(axis=1, keepdims=True), labels


def test_scores_are_those_of_scikit_learn(answers: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels = answers
    predicted = p.argmax(axis=1)
    confusion = confusion_counts(labels, predicted, K)
    assert np.array_equal(confusion, metrics.confusion_matrix(labels, predicted))
    ours = evaluation.class_scores(confusion)
    theirs = metrics.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for mine, other in zip((ours.precision, ours.recall, ours.f1, ours.support), theirs, strict=True):
        np.testing.assert_allclose(mine, other)
    assert np.nanmean(ours.recall) == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    calibrated = evaluation.calibration(p, labels)
    assert calibrated.nll == pytest.approx(metrics.log_loss(labels, p))
    assert calibrated.brier == pytest.approx(np.mean(np.sum((p - np.eye(K)[labels]) ** 2, axis=1)))
    for k, curve in enumerate(evaluation.roc_curves(p, labels)):
        assert curve.auc == pytest.approx(metrics.roc_auc_score(labels == k, p[:, k]))
        x, y, _ = metrics.roc_curve(labels == k, p[:, k], drop_intermediate=False)
        np.testing.assert_allclose(curve.false_positive_rate, x)
        np.testing.assert_allclose(curve.true_positive_rate, y)


def test_brier_score_of_two_classes_is_twice_scikit_learns(answers: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels = answers
    two = np.stack([1 - p[:, 0], p[:, 0]], axis=1)
    ours = evaluation.calibration(two, (labels == 0).astype(int)).brier
    assert ours == pytest.approx(2 * metrics.brier_score_loss(labels == 0, p[:, 0]))


def test_a_class_without_faces_has_no_scores_and_does_not_count() -> None:
    labels = np.array([0, 0, 1, 1])
    predicted = np.array([0, 2, 1, 1])
    found = evaluation.class_scores(confusion_counts(labels, predicted, 3))
    assert np.isnan([found.precision[2], found.recall[2], found.f1[2]]).all()
    assert np.nanmean(found.recall) == pytest.approx(0.75)
    never = evaluation.class_scores(confusion_counts(labels, np.zeros(4, int), 2))
    assert never.precision[1] == 0 and never.f1[1] == 0
    curve = evaluation.roc_curves(np.full((4, 3), 1 / 3), labels)[2]
    assert np.isnan(curve.auc)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.65, 0.65])
    p = np.stack([confidence, 1 - confidence], axis=1)
    found = evaluation.calibration(p, np.array([0, 0, 1, 0, 0]), bins=10)
    # bin (0.9, 1]: 3 faces, 2 right; bin (0.6, 0.7]: 2 faces, both right
    assert found.ece == pytest.approx((3 * (0.95 - 2 / 3) + 2 * (1 - 0.65)) / 5)
    assert found.mce == pytest.approx(0.35)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 3]
    on_edge = evaluation.calibration(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]), bins=2)
    assert on_edge.counts.tolist() == [1, 1]


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (7, 10), (2460, 3589), (10, 10)])
def test_interval_is_wilsons(correct: int, n: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    expected = proportion.proportion_confint(correct, n, method="wilson")
    assert evaluation.accuracy_interval(correct, n) == pytest.approx(expected, abs=1e-9)


def test_common_classes_are_conditional_probabilities() -> None:
    p = np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]])
    found = evaluation.on_common_classes(p, ("a", "b", "c", "d"), ("c", "a"))
    np.testing.assert_allclose(found, [[0.75, 0.25], [0.5, 0.5]])


def test_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, K))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) < rng.random((len(true), 1))).sum(axis=1)
    sure = apply_temperature(true, 1 / 2.5)
    assert fit_temperature(sure, labels) == pytest.approx(2.5, rel=0.03)
    np.testing.assert_allclose(apply_temperature(sure, 2.5), true, atol=1e-9)
    scaled, temperatures = cross_fitted(sure, labels)
    assert temperatures == pytest.approx([2.5, 2.5], rel=0.05)
    assert evaluation.calibration(scaled, labels).ece < 0.02 < evaluation.calibration(sure, labels).ece
    # a vote of two equal members is either of them
    assert fit_temperature(np.stack([sure, sure]), labels) == pytest.approx(fit_temperature(sure, labels))


class _Brightness:
    """Answers by the brightness of the left half and of the right half."""

    def predict(self, faces: np.ndarray) -> np.ndarray:
        left, right = (half.mean(axis=(1, 2)) + 1 for half in (faces[:, :, :24], faces[:, :, 24:]))
        return np.stack([left, right], axis=1).astype(np.float32) / (left + right)[:, None].astype(np.float32)


def test_views_of_a_face_and_its_mirror_image_agree() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    faces[:, :, :24] //= 4
    judge = _Brightness()
    assert (judge.predict(faces)[:, 1] > 0.7).all()
    assert np.array_equal(predict_views(judge, faces), judge.predict(faces))
    for views in ("flip", "ten"):  # both halves are seen on both sides, so what is left is none of the two
        np.testing.assert_allclose(predict_views(judge, faces, views), 0.5, atol=5e-3)
        mirrored = np.ascontiguousarray(faces[:, :, ::-1])
        np.testing.assert_allclose(predict_views(judge, faces, views), predict_views(judge, mirrored, views), atol=1e-3)
    with pytest.raises(ValueError, match="single, flip, ten"):
        predict_views(judge, faces, "eleven")


def test_windows_show_what_they_say() -> None:
    face = np.random.default_rng(0).integers(0, 256, (1, 48, 48), np.uint8)
    assert len(TEN) == len(set(TEN)) == 10
    assert np.array_equal(window(face, (1, 0, False)), face)
    assert np.array_equal(window(face, (1, 0, True)), face[:, :, ::-1])
    assert np.array_equal(window(face, (1, 180, False)), face[:, ::-1, ::-1])
    dot = np.zeros((1, 48, 48), np.uint8)
    dot[0, 7:11, 22:26] = 255
    for side, row in ((0.5, -6), (1.5, 14.0)):  # 15 pixels above the middle: outside when near, inside when far
        seen = window(dot, (side, 0, False))[0].astype(float)
        if row < 0:
            assert seen.sum() == 0
        else:
            assert (seen.sum(axis=1) * np.arange(0.5, 48)).sum() / seen.sum() == pytest.approx(row, abs=0.5)


@pytest.fixture(scope="module")
def planted():
    """A network whose first class is how bright a face is and whose second is how dark."""
    from fergan.classify.backend import keras

    pixels = keras.Input((48, 48, 1), name="pixels")
    maps = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="first")(pixels)
    maps = keras.layers.AveragePooling2D(4)(maps)  # 12 by 12
    logits = keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(pixels, keras.layers.Softmax()(logits))
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = 1 / 255, -1 / 255
    model.get_layer("first").set_weights([kernel, np.array([0, 1], np.float32)])
    model.get_layer("head").set_weights([np.eye(2, dtype=np.float32), np.zeros(2, np.float32)])
    return model


def test_heat_is_where_the_answer_comes_from(planted) -> None:
    from fergan.classify.evaluation.explain import first_layer, grad_cam

    face = np.full((2, 48, 48, 1), 10, np.float32)
    face[:, 24:, 24:] = 250  # the lower right quadrant speaks for bright, the others for dark
    heat = grad_cam(planted, face, np.array([0, 1]))
    assert heat.shape == (2, 48, 48) and heat.max() == pytest.approx(1)
    quadrant, others = heat[:, 28:, 28:], heat[:, :20]
    assert quadrant[0].min() > 0.9 and others[0].max() < 0.1
    assert quadrant[1].max() < 0.1 and others[1].min() > 0.9
    filters = first_layer(planted, face[0])
    assert filters.kernels.shape == (2, 3, 3) and filters.kernels[1, 1, 1] == pytest.approx(-1 / 255)
    # the answer is what leaves the layer, its activation included
    np.testing.assert_allclose(filters.responses[0], face[0, :, :, 0] / 255, atol=1e-5)


def test_explaining_leaves_the_network_as_it_was(planted) -> None:
    from fergan.classify.evaluation.explain import grad_cam

    face = np.random.default_rng(0).uniform(0, 255, (1, 48, 48, 1)).astype(np.float32)
    before = planted(face).detach().numpy()
    grad_cam(planted, face, np.array([1]))
    assert np.array_equal(planted(face).detach().numpy(), before)
    assert before.sum() == pytest.approx(1)


def _head(kind: str):
    """A small random network with one of the usual ends."""
    from fergan.classify.backend import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((48, 48, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Conv2D(4, 5, strides=8, activation="relu")(x)
    if kind == "dense":
        x = keras.layers.Dense(K, activation="softmax")(keras.layers.Flatten()(x))
    elif kind == "maps":  # as mini_XCEPTION ends
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(K, 3)(x))
        x = keras.layers.Activation("softmax")(x)
    else:
        x = keras.layers.Reshape((1, 1, 4))(keras.layers.GlobalAveragePooling2D()(x))
        x = keras.layers.Softmax()(keras.layers.Flatten()(keras.layers.Conv2D(K, 1)(x)))
    return keras.Model(pixels, x)


@pytest.mark.parametrize("kind", ["dense", "maps", "convolution"])
def test_a_temperature_goes_into_the_last_kernel(kind: str) -> None:
    model, face = _head(kind), np.random.default_rng(0).uniform(0, 255, (6, 48, 48, 1)).astype(np.float32)
    before = model(face).detach().numpy()
    heads = find_heads(model)
    divide_logits(heads, 0.2)
    after = model(face).detach().numpy()
    assert not np.allclose(after, before, atol=1e-3)
    np.testing.assert_allclose(after, apply_temperature(before, 0.2), atol=1e-5)


def test_every_member_of_a_vote_gets_the_temperature() -> None:
    from fergan.classify.backend import keras

    face = np.random.default_rng(0).uniform(0, 255, (6, 48, 48, 1)).astype(np.float32)
    pixels = keras.Input((48, 48, 1))
    members = [_head("dense"), _head("maps")]
    outputs = [keras.layers.Rescaling(share)(member(pixels)) for share, member in zip((0.3, 0.7), members, strict=True)]
    vote = keras.Model(pixels, keras.layers.Add()(outputs))
    heads = find_heads(vote)
    assert heads.weights == pytest.approx([0.3, 0.7])
    before = np.stack([member(face).detach().numpy() for member in members])
    divide_logits(heads, 0.5)
    np.testing.assert_allclose(vote(face).detach().numpy(), apply_temperature(before, 0.5, heads.weights), atol=1e-5)


def test_a_network_without_a_softmax_over_a_kernel_is_refused() -> None:
    from fergan.classify.backend import keras

    pixels = keras.Input((48, 48, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(K, 3, activation="relu")(pixels))
    with pytest.raises(NotScalable, match="Conv2D"):
        find_heads(keras.Model(pixels, keras.layers.Softmax()(pooled)))
    with pytest.raises(NotScalable, match="Dense"):
        find_heads(keras.Model(pixels, keras.layers.Dense(K, activation="sigmoid")(pooled)))
