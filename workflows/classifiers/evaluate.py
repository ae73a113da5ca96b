"""How good a classifier is on labelled faces: ``evaluation.json``, a page, and the answers face by face."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ... import __version__
from ...classify.card import GivenRange
from ...classify.classifier import Classifier, load_classifier
from ...classify.evaluation import scores as numbers
from ...classify.evaluation.calibration import apply_temperature, cross_fitted, fit_temperature
from ...classify.evaluation.views import TEN
from ...classify.networks.registry import multiply_adds
from ...data.audit.duplicates import THRESHOLD, exact_groups, near_duplicates
from ...data.face_set import OWN_SPLITS, SPLITS, FaceSet, confusion_counts, role
from ...data.merge import merge
from ...data.readers import read_faces
from ...reports.pages.evaluation import build_evaluation_page
from ...reports.settings import plain
from ...runtime.errors import DataError, UsageError
from ...runtime.files import json_text, printable, write_atomically
from ..progress import OnProgress, no_progress
from .answers import Answers
from .heat_maps import make_pictures

_MISTAKES = 48
_ROC_POINTS = 200


@dataclass(frozen=True)
class EvaluateOptions:
    """Settings of an evaluation.

    Attributes:
        data: one or more data sets, as :func:`fergan.data.readers.read_faces` takes them.
        model, labels, input_range, device: as :func:`fergan.classify.classifier.load_classifier` takes them.
        split: ``validation``, ``test``, ``train``, ``all``, or what the set itself calls a split, such as
            ``PublicTest``; None for the validation rows, or all rows where there is no split.
        views: see :func:`fergan.classify.evaluation.views.predict_views`; a single view is always evaluated too.
        log: the training's ``log.csv``; None for one beside the model's file.
        leaks: whether to look for the evaluated faces among the training rows of the data.
        explain: whether to make heat maps.
        seed: of the halves that the temperature is fitted on, and of the sample of training rows.
    """

    data: Sequence[str]
    model: str | None = None
    labels: Sequence[str] | None = None
    input_range: GivenRange | None = None
    split: str | None = None
    views: str = "single"
    log: str | None = None
    leaks: bool = True
    explain: bool = True
    seed: int = 0
    device: str = "auto"


def run_evaluation(
    options: EvaluateOptions, out: str | Path | None = None, show: OnProgress = no_progress
) -> tuple[dict[str, Any], list[Path]]:
    """Evaluate a classifier and write what was found.

    Args:
        options: see :class:`EvaluateOptions`.
        out: a folder, made if it is not there; None for ``runs/evaluation/MODEL-SPLIT``. It receives
            ``evaluation.json`` (see ``reports.pages.evaluation.schema``), ``evaluation.html`` and ``answers.npz``
            (``labels`` int16 [N] and ``probabilities`` float16 [N, K] of the single view in the order of
            ``label_names``, ``rows`` int32 [N] in the data, and one of ``probabilities_flip`` and
            ``probabilities_ten`` where asked for).
        show: progress.

    Returns:
        The contents of ``evaluation.json``, and the files that were written.

    Raises:
        DataError, UsageError: as the readers say; no such split; no label in common.
    """
    faces = merge([read_faces(path) for path in options.data], "all")
    split, rows = _rows(faces, options.split)
    classifier = load_classifier(options.model, options.device, labels=options.labels, input_range=options.input_range)
    answers = Answers(classifier, faces, rows, show)
    views = {"single": answers.single}
    if options.views != "single":
        views[options.views] = answers.predict(answers.rows, options.views)
    leaks = _leaks(faces, answers, views, options.leaks)
    network, closed = _opened(classifier)
    data = {
        "format": {"name": "fergan.evaluation", "version": 1},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fergan": __version__,
        "model": {
            "name": classifier.name,
            "sha256": classifier.sha256,
            "labels": list(classifier.labels),
            "bytes": classifier.source.stat().st_size if classifier.source else None,
            "parameters": None if network is None else int(network.count_params()),
            "macs": None if network is None else int(multiply_adds(network)),
            "short_run": bool(classifier.card.get("short_run", False)),
        },
        "data": {
            "name": _name(options.data, split),
            "paths": list(options.data),
            "split": split,
            "n": len(answers.rows),
            "row_hash": _row_hash(faces.take(answers.rows)),
            "labels": list(answers.names),
            "left_out": answers.left_out,
            "official": faces.official,
            "notes": _data_notes(faces),
        },
        "views": {name: scores(p, answers.labels) for name, p in views.items()},
        "view_list": [list(view) for view in TEN] if "ten" in views else None,
        **_by_class(answers),
        "calibration": _calibration(answers, options.seed),
        "leaks": leaks,
        "training_sample": _training_sample(answers, options.seed),
        "learning": _learning(classifier, options.log),
        "speed": {
            "faces_per_second": round(answers.faces_per_second, 1),
            "device": classifier.device,
            "engine": classifier.engine,
            "threads": torch.get_num_threads(),
        },
        "mistakes": _mistakes(answers),
        "notes": _notes(faces, answers),
    }
    data = plain(data)
    pictures = make_pictures(answers, network, closed if options.explain else "they were not asked for")
    folder = Path(out) if out is not None else Path("runs/evaluation") / f"{classifier.name}-{split}"
    contents = {
        "answers.npz": _answers_file(answers, views),
        "evaluation.html": build_evaluation_page(data, pictures).encode(),
        "evaluation.json": json_text(data).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be made ({error.strerror}); give another --out") from error
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return data, [folder / name for name in contents]


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The scores of one set of answers, float [N, K], as plain JSON values."""
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == labels).sum())
    by_class = numbers.class_scores(confusion_counts(labels, predicted, probabilities.shape[1]))
    calibrated = numbers.calibration(probabilities, labels)
    return {
        "n": len(labels),
        "correct": correct,
        "accuracy": _interval(correct, len(labels)),
        "macro_f1": float(np.nanmean(by_class.f1)),
        "balanced_accuracy": float(np.nanmean(by_class.recall)),
        "ece": calibrated.ece,
        "nll": calibrated.nll,
    }


def _rows(faces: FaceSet, split: str | None) -> tuple[str, np.ndarray]:
    """The name of a split and its rows."""
    roles, usage = role(faces.usage), faces.usage
    if split is None:
        split = "validation" if (roles == "validation").any() else "all" if not (usage != "").any() else None
    there = sorted(set(usage.tolist()) - {""})
    if split is None:
        raise UsageError(f"the data have no validation rows; give --split, one of {', '.join(there)} or all")
    chosen = np.full(len(faces), split == "all") | (roles == split if split in OWN_SPLITS else usage == split)
    if not chosen.any():
        have = ", ".join(there) or "none"
        notes = "; ".join(_data_notes(faces)) if split in SPLITS else ""
        raise UsageError(f"the data have no rows of split {split!r} (they have: {have}){f'; {notes}' if notes else ''}")
    named = sorted(set(usage[chosen].tolist()))
    return (named[0] if len(named) == 1 and named[0] else split), np.flatnonzero(chosen)


def _data_notes(faces: FaceSet) -> list[str]:
    """What the readers noted, of one set or of all that were merged."""
    sets = faces.record.get("sets", [faces.record])
    return [str(note) for one in sets for note in one.get("notes", ())]


def _name(paths: Sequence[str], split: str) -> str:
    names = " + ".join(Path(path).name for path in paths)
    return names if split == "all" else f"{names}, {split}"


def _row_hash(faces: FaceSet) -> str:
    """SHA-256 of pixels and labels in order: two evaluations with one hash judged the same faces."""
    digest = hashlib.sha256(np.ascontiguousarray(faces.images).tobytes())
    digest.update("\n".join(faces.label_texts().tolist()).encode())
    return digest.hexdigest()


def _interval(correct: int, n: int) -> dict[str, float]:
    low, high = numbers.accuracy_interval(correct, n)
    return {"value": correct / n, "low": low, "high": high}


def _opened(classifier: Classifier) -> tuple[Any, str]:
    """The network as Keras has it, or None and why not."""
    try:
        return classifier.keras_model(), ""
    except DataError as error:
        return None, str(error)


def _by_class(answers: Answers) -> dict[str, Any]:
    predicted = answers.single.argmax(axis=1)
    confusion = confusion_counts(answers.labels, predicted, len(answers.names))
    by_class = numbers.class_scores(confusion)
    curves = numbers.roc_curves(answers.single, answers.labels)
    classes = [
        {
            "label": name,
            "support": int(by_class.support[k]),
            "precision": by_class.precision[k],
            "recall": _interval(int(confusion[k, k]), int(by_class.support[k])) if by_class.support[k] else None,
            "f1": by_class.f1[k],
            "auc": curves[k].auc,
        }
        for k, name in enumerate(answers.names)
    ]
    auc = [curve.auc for curve in curves if np.isfinite(curve.auc)]
    return {
        "classes": classes,
        "macro": {
            "precision": float(np.nanmean(by_class.precision)),
            "recall": float(np.nanmean(by_class.recall)),
            "f1": float(np.nanmean(by_class.f1)),
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


def _calibration(answers: Answers, seed: int) -> dict[str, Any]:
    """As given and scaled; the temperature comes from the validation rows, else it is cross-fitted."""
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


def _leaks(faces: FaceSet, answers: Answers, views: Mapping[str, np.ndarray], wanted: bool) -> dict[str, Any]:
    roles = role(faces.usage)
    training = np.flatnonzero(roles == "train")
    reason = None
    if not wanted:
        reason = "not asked for"
    elif not len(training):
        reason = "the data have no training rows"
    elif (roles[answers.rows] == "train").any():
        reason = "training rows are evaluated themselves"
    result: dict[str, Any] = {"looked": reason is None, "reason": reason, "threshold": THRESHOLD}
    if reason is not None:
        return {**result, "rows": None, "exact": None, "near": None, "without": None}
    images = faces.images[np.concatenate([answers.rows, training])]
    n = len(answers.rows)
    exact, leaked = np.zeros(n, bool), np.zeros(n, bool)
    groups = exact_groups(images)
    exact[:] = np.isin(groups[:n], groups[n:])
    pairs = near_duplicates(images)
    across = (pairs.first < n) & (pairs.second >= n)
    leaked[pairs.first[across]] = True
    leaked |= exact
    kept = ~leaked
    return {
        **result,
        "rows": int(leaked.sum()),
        "exact": int(exact.sum()),
        "near": int((leaked & ~exact).sum()),
        "without": {name: scores(p[kept], answers.labels[kept]) for name, p in views.items()} if kept.any() else None,
    }


def _training_sample(answers: Answers, seed: int) -> dict[str, Any] | None:
    """Scores on as many training rows, which tell how much better it knows what it was fitted on."""
    roles = role(answers.faces.usage)
    training = np.flatnonzero((roles == "train") & (answers.all_codes >= 0))
    if not len(training) or (roles[answers.rows] == "train").any():
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(training)[: len(answers.rows)])
    found = scores(answers.predict(chosen, "single"), answers.all_codes[chosen])
    return {"n": found["n"], "correct": found["correct"], "accuracy": found["accuracy"]}


def _learning(classifier: Classifier, log: str | None) -> dict[str, Any] | None:
    """The curves of a ``log.csv`` of Keras' CSVLogger; the first accuracy and loss that have a ``val_`` twin."""
    path = Path(log) if log is not None else classifier.source and classifier.source.with_name("log.csv")
    if path is None or (log is None and not path.exists()):
        return None
    try:
        table = pd.read_csv(path).apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: is no log.csv of a training ({printable(error)})") from error
    pairs: dict[str, Any] = {}
    for kind in ("accuracy", "loss"):
        names = [name for name in table.columns if name.endswith(kind) and f"val_{name}" in table.columns]
        # of several heads, the one of the expressions; an auxiliary head is not what is evaluated
        names.sort(key=lambda name: ("expression" not in name, len(name)))
        pairs[kind] = names and {
            "training": table[names[0]].tolist(),
            "validation": table[f"val_{names[0]}"].tolist(),
        }
    if log is not None and not pairs["accuracy"]:
        raise DataError(f"{printable(path)}: has no columns accuracy and val_accuracy; give a training's log.csv")
    accuracy = pairs["accuracy"] or None
    best = gap = None
    if accuracy and np.isfinite(accuracy["validation"]).any():
        at = int(np.nanargmax(accuracy["validation"]))
        best, gap = at + 1, accuracy["training"][at] - accuracy["validation"][at]
    return {"accuracy": accuracy, "loss": pairs["loss"] or None, "best_epoch": best, "gap": gap}


def _mistakes(answers: Answers) -> list[dict[str, Any]]:
    given, confidence = answers.single.argmax(axis=1), answers.single.max(axis=1)
    wrong = np.flatnonzero(given != answers.labels)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    names = answers.faces.row_names()
    return [
        {
            "row": int(answers.rows[i]),
            "name": str(names[answers.rows[i]]),
            "label": answers.names[answers.labels[i]],
            "given": answers.names[given[i]],
            "confidence": float(confidence[i]),
        }
        for i in chosen
    ]


def _notes(faces: FaceSet, answers: Answers) -> list[str]:
    notes, roles = [], role(faces.usage[answers.rows])
    if (roles == "test").any():
        notes.append(
            "These are test faces, to be looked at once, when everything is chosen: choose models, views and settings "
            "by the validation faces."
        )
    if (roles == "train").any():
        notes.append("Training faces are among these; a classifier that was fitted on them knows their labels.")
    extra = [name for name in answers.model_names if name not in answers.names]
    if extra:
        notes.append(
            f"The data have no {', '.join(extra)}, which the model knows: its probabilities are those given that one "
            "of the other classes is right."
        )
    if answers.left_out:
        lost = ", ".join(f"{n} {name}" for name, n in answers.left_out.items())
        notes.append(f"Left out, because the model knows no such class: {lost}.")
    return notes + _data_notes(faces)


def _answers_file(answers: Answers, views: Mapping[str, np.ndarray]) -> bytes:
    arrays = {
        "rows": answers.rows.astype(np.int32),
        "labels": answers.labels.astype(np.int16),
        "label_names": np.array(answers.names),
        "predicted": answers.single.argmax(axis=1).astype(np.int16),
        "probabilities": answers.single.astype(np.float16),
    }
    for name, p in views.items():
        if name != "single":
            arrays[f"predicted_{name}"] = p.argmax(axis=1).astype(np.int16)
            arrays[f"probabilities_{name}"] = p.astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
