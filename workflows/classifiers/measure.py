"""The measurements of an evaluation, as plain JSON values: scores, calibration, leaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...classify.evaluation import scores as numbers
from ...classify.evaluation.calibration import apply_temperature, cross_fitted, fit_temperature
from ...data.audit.duplicates import THRESHOLD
from ...data.audit.leaks import copies_in_training
from ...data.face_set import FaceSet, confusion_counts, role
from .answers import Answers

_ROC_POINTS = 200


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The scores of one set of answers, float [N, K], as plain JSON values."""
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == labels).sum())
    found = numbers.class_scores(confusion_counts(labels, predicted, probabilities.shape[1]))
    calibrated = numbers.calibration(probabilities, labels)
    return {
        "n": len(labels),
        "correct": correct,
        "accuracy": _interval(correct, len(labels)),
        "macro_f1": float(np.nanmean(found.f1)),
        "balanced_accuracy": float(np.nanmean(found.recall)),
        "ece": calibrated.ece,
        "nll": calibrated.nll,
    }


def _interval(correct: int, n: int) -> dict[str, float]:
    low, high = numbers.accuracy_interval(correct, n)
    return {"value": correct / n, "low": low, "high": high}


def by_class(answers: Answers) -> dict[str, Any]:
    """Scores of each class, their means, the confusion counts and the ROC curves."""
    predicted = answers.single.argmax(axis=1)
    confusion = confusion_counts(answers.labels, predicted, len(answers.names))
    found = numbers.class_scores(confusion)
    curves = numbers.roc_curves(answers.single, answers.labels)
    classes = [
        {
            "label": name,
            "support": int(found.support[k]),
            "precision": found.precision[k],
            "recall": _interval(int(confusion[k, k]), int(found.support[k])) if found.support[k] else None,
            "f1": found.f1[k],
            "auc": curves[k].auc,
        }
        for k, name in enumerate(answers.names)
    ]
    auc = [curve.auc for curve in curves if np.isfinite(curve.auc)]
    return {
        "classes": classes,
        "macro": {
            "precision": float(np.nanmean(found.precision)),
            "recall": float(np.nanmean(found.recall)),
            "f1": float(np.nanmean(found.f1)),
            "auc": float(np.mean(auc)) if auc else None,
        },
        "confusion": confusion.tolist(),
        "roc": [_thinned(name, curve) for name, curve in zip(answers.names, curves, strict=True)],
    }


def _thinned(name: str, curve: numbers.Roc) -> dict[str, Any]:
    """The curve at some of its points, evenly along its length; the area is that of the whole."""
    if not np.isfinite(curve.auc):
        return {"label": name, "auc": None, "false_positive_rate": [], "true_positive_rate": []}
    along = curve.false_positive_rate + curve.true_positive_rate
    chosen = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _ROC_POINTS)))
    return {
        "label": name,
        "auc": curve.auc,
        "false_positive_rate": curve.false_positive_rate[chosen].round(5).tolist(),
        "true_positive_rate": curve.true_positive_rate[chosen].round(5).tolist(),
    }


def calibration(answers: Answers, seed: int) -> dict[str, Any]:
    """Calibration as given and scaled; the temperature comes from the validation rows, else it is cross-fitted."""
    p, labels = answers.single, answers.labels
    validation = np.flatnonzero((role(answers.faces.usage) == "validation") & (answers.all_codes >= 0))
    validation = np.setdiff1d(validation, answers.rows)
    halves: list[float] | None = None
    if len(validation):
        temperature = fit_temperature(answers.predict(validation, "single"), answers.all_codes[validation])
        scaled = apply_temperature(p, temperature)
        fitted_on = f"the {len(validation)} other validation rows"
    elif len(labels) > 1:
        temperature = fit_temperature(p, labels)
        scaled, halves = cross_fitted(p, labels, seed)
        fitted_on = f"these {len(labels)} faces"
    else:
        temperature, scaled, fitted_on = 1.0, p, "nothing: one face is too few"
    return {
        "as_given": _calibration_data(p, labels),
        "scaled": _calibration_data(scaled, labels),
        "temperature": {
            "value": temperature,
            "fitted_on": fitted_on,
            "cross_fitted": halves is not None,
            "halves": halves,
        },
    }


def _calibration_data(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    found = numbers.calibration(probabilities, labels)
    return {
        "ece": found.ece,
        "mce": found.mce,
        "nll": found.nll,
        "brier": found.brier,
        "mean_confidence": float(probabilities.max(axis=1).mean(dtype=np.float64)),
        "mean_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "bins": {"confidence": found.confidence, "accuracy": found.accuracy, "counts": found.counts},
    }


def leak_scores(faces: FaceSet, answers: Answers, views: Mapping[str, np.ndarray], wanted: bool) -> dict[str, Any]:
    """How many evaluated faces are among the training rows, and the scores without them."""
    roles = role(faces.usage)
    reason, found = None, None
    if not wanted:
        reason = "not asked for"
    elif not (roles == "train").any():
        reason = "the data have no training rows"
    elif (roles[answers.rows] == "train").any():
        reason = "training rows are evaluated themselves"
    else:
        found = copies_in_training(faces, answers.rows)
    result: dict[str, Any] = {"looked": reason is None, "reason": reason, "threshold": THRESHOLD}
    if found is None:
        return {**result, "rows": None, "exact": None, "near": None, "without": None}
    leaked, exact = found
    kept = ~leaked
    return {
        **result,
        "rows": int(leaked.sum()),
        "exact": int(exact.sum()),
        "near": int((leaked & ~exact).sum()),
        "without": {name: scores(p[kept], answers.labels[kept]) for name, p in views.items()} if kept.any() else None,
    }


def training_sample(answers: Answers, seed: int) -> dict[str, Any] | None:
    """Scores on as many training rows, which tell how much better it knows what it was fitted on."""
    roles = role(answers.faces.usage)
    training = np.flatnonzero((roles == "train") & (answers.all_codes >= 0))
    if not len(training) or (roles[answers.rows] == "train").any():
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(training)[: len(answers.rows)])
    found = scores(answers.predict(chosen, "single"), answers.all_codes[chosen])
    return {"n": found["n"], "correct": found["correct"], "accuracy": found["accuracy"]}
