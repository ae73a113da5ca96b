"""How good a classifier is on labelled faces: ``evaluation.json``, a page, and the answers face by face."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...classify.card import GivenRange, View, family
from ...classify.classifier import Classifier, load_classifier
from ...classify.evaluation.views import TEN
from ...classify.networks.registry import multiply_adds
from ...data.face_set import OWN_SPLITS, SPLITS, FaceSet, role
from ...data.merging import merge
from ...data.readers import read_faces
from ...reports.pages.evaluation import build_evaluation_page
from ...reports.settings import plain
from ...runtime.errors import DataError, UsageError
from ...runtime.files import json_text, make_folder, npz_bytes, printable, read_json, utf8_text, write_atomically
from ...runtime.version import __version__
from ..progress import OnProgress, no_progress
from .answers import Answers
from .heat_maps import make_pictures
from .measure import by_class, calibration, leak_scores, scores, training_sample
from .training_data import with_validation

_MISTAKES = 48


@dataclass(frozen=True)
class EvaluateOptions:
    """Settings of an evaluation.

    Attributes:
        data: one or more data sets, as :func:`fergan.data.readers.read_faces` takes them.
        model, labels, input_range, view, device: as :func:`fergan.classify.classifier.load_classifier` takes them.
        on: the split, ``validation``, ``test``, ``train``, ``all``, or what the set itself calls a split, such as
            ``PublicTest``; None for the validation rows, or all rows where there is no split.
        views: see :func:`fergan.classify.evaluation.views.predict_views`; a single view is always evaluated too.
        log: the training's ``log.csv``; None for one beside the model's file.
        without_leaks: whether to look for the evaluated faces among the training rows of the data, and to score without
            those found too.
        explain: whether to make heat maps.
        seed: of the halves that the temperature is fitted on, and of the sample of training rows.
    """

    data: Sequence[str]
    model: str | None = None
    labels: Sequence[str] | None = None
    input_range: GivenRange | None = None
    view: View | None = None
    on: str | None = None
    views: str = "single"
    log: str | None = None
    without_leaks: bool = True
    explain: bool = True
    seed: int = 0
    device: str = "auto"


def run_evaluation(
    options: EvaluateOptions, out: str | Path | None = None, show: OnProgress = no_progress
) -> tuple[dict[str, Any], list[Path]]:
    """Evaluate a classifier and write what was found.

    Args:
        options: see :class:`EvaluateOptions`.
        out: a folder, made if it is not there; None for ``runs/evaluation/MODEL-SPLIT``, or one with digits of the
            hash behind it where another model or other data have that name. It receives
            ``evaluation.json`` (see ``reports/pages/schema``), ``evaluation.html`` and ``answers.npz``
            (``labels`` int16 [N] and ``probabilities`` float16 [N, K] of the single view in the order of
            ``label_names``, ``rows`` int32 [N] in the data, and one of ``probabilities_flip`` and
            ``probabilities_ten`` where asked for).
        show: progress.

    Raises:
        DataError, UsageError: as the readers say; no such split; no label in common.
    """
    faces = _read(options.data)
    split, rows = _rows(faces, options.on)
    classifier = load_classifier(
        options.model, options.device, labels=options.labels, input_range=options.input_range, view=options.view
    )
    answers = Answers(classifier, faces, rows, show)
    network, closed = _opened(classifier)
    model, judged = _model_facts(classifier, network), _data_facts(options.data, split, faces, answers)
    folder = _folder(model, judged, out)  # told now, not after minutes of work
    views = {"single": answers.single}
    if options.views != "single":
        views[options.views] = answers.predict(answers.rows, options.views)
    data = plain(
        {
            "format": {"name": "fergan.evaluation", "version": 1},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "fergan": __version__,
            "model": model,
            "data": judged,
            "views": {name: scores(p, answers.labels) for name, p in views.items()},
            "view_list": [list(view) for view in TEN] if "ten" in views else None,
            **by_class(answers),
            "calibration": calibration(answers, options.seed),
            "leaks": leak_scores(faces, answers, views, options.without_leaks),
            "training_sample": training_sample(answers, options.seed),
            "learning": _learning(classifier, options.log),
            "speed": _speed(classifier, answers),
            "mistakes": _mistakes(answers),
            "notes": _chosen_notes(faces, classifier) + _notes(faces, answers),
        }
    )
    pictures = make_pictures(answers, network, closed if options.explain else "they were not asked for")
    contents = {
        "answers.npz": _answers_file(answers, views),
        "evaluation.html": utf8_text(build_evaluation_page(data, pictures)).encode(),
        "evaluation.json": json_text(data).encode(),
    }
    make_folder(folder)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return data, [folder / name for name in contents]


def _model_facts(classifier: Classifier, network: Any) -> dict[str, Any]:
    return {
        "name": classifier.name,
        "sha256": classifier.sha256,
        "labels": list(classifier.labels),
        "bytes": classifier.source.stat().st_size if classifier.source else None,
        "parameters": None if network is None else int(network.count_params()),
        "macs": None if network is None else int(multiply_adds(network)),
        "short_run": bool(classifier.card.get("short_run", False)),
        "epochs": _positive(classifier.card, "epochs"),
        "seconds": _positive(classifier.card, "seconds"),
    }


def _positive(card: Mapping[str, Any], name: str) -> int | None:
    """A count that a card, which may be anybody's, gives of the training."""
    scores = card.get("scores")
    value = scores.get(name) if isinstance(scores, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _data_facts(paths: Sequence[str], split: str, faces: FaceSet, answers: Answers) -> dict[str, Any]:
    return {
        "name": _name(paths, split, faces),
        "synthetic": any(_synthetic(faces)),
        "paths": list(paths),
        "split": split,
        "n": len(answers.rows),
        "row_hash": _row_hash(faces.take(answers.rows)),
        "labels": list(answers.names),
        "left_out": answers.left_out,
        "official": faces.official,
        "notes": _data_notes(faces),
    }


def _speed(classifier: Classifier, answers: Answers) -> dict[str, Any]:
    return {
        "faces_per_second": round(answers.faces_per_second, 1),
        "device": classifier.device,
        "engine": classifier.engine,
        "threads": torch.get_num_threads(),
    }


def _read(paths: Sequence[str]) -> FaceSet:
    """All data as one set. Beside a set with splits, one without is shared out as a training does by default."""
    sets = [read_faces(path) for path in paths]
    if len(sets) > 1 and any((faces.usage != "").any() for faces in sets):
        sets = [_shared_out(dataclasses.replace(faces, names=faces.row_names())) for faces in sets]
    return merge(sets, "all")


def _shared_out(faces: FaceSet) -> FaceSet:
    if (faces.usage != "").any():
        return faces
    note = "A set without splits was shared out 80:10:10, as 'fergan train classifier' does by default (seed 0)."
    shared = with_validation(faces, 0)
    return dataclasses.replace(shared, record={**shared.record, "notes": [*shared.record.get("notes", ()), note]})


def _folder(model: Mapping[str, Any], judged: Mapping[str, Any], out: str | Path | None) -> Path:
    """Where the results go: never over those of another model or of other faces."""
    folder = Path(out) if out is not None else Path("runs/evaluation") / f"{model['name']}-{judged['split']}"
    found = read_json(folder / "evaluation.json")
    if found is None or _identity(found) == (model["sha256"], judged["row_hash"]):
        return folder
    if out is None:
        return folder.with_name(f"{folder.name}-{model['sha256'][:6]}{judged['row_hash'][:6]}")
    raise UsageError(
        f"{printable(folder)}: holds the evaluation of another model or of other faces; give another --out"
    )


def _identity(data: Any) -> Any:
    try:
        return data["model"]["sha256"], data["data"]["row_hash"]
    except (KeyError, TypeError):
        return None


def _rows(faces: FaceSet, split: str | None) -> tuple[str, np.ndarray]:
    """The name of a split and its rows."""
    roles, usage = role(faces.usage), faces.usage
    if split is None:
        split = "validation" if (roles == "validation").any() else "all" if not (usage != "").any() else None
    splits = sorted(set(usage.tolist()) - {""})
    if split is None:
        raise UsageError(f"the data have no validation rows; give --on, one of {', '.join(splits)} or all")
    chosen = np.full(len(faces), split == "all") | (roles == split if split in OWN_SPLITS else usage == split)
    if not chosen.any():
        have = ", ".join(splits) or "none"
        notes = "; ".join(_data_notes(faces)) if split in SPLITS else ""
        raise UsageError(f"the data have no rows of split {split!r} (they have: {have}){f'; {notes}' if notes else ''}")
    named = sorted(set(usage[chosen].tolist()))
    return (named[0] if len(named) == 1 and named[0] else split), np.flatnonzero(chosen)


def _data_notes(faces: FaceSet) -> list[str]:
    """The readers' notes on one set, or on all that were merged."""
    return [str(note) for one in _sets(faces) for note in one.get("notes", ())]


def _sets(faces: FaceSet) -> list[Mapping[str, Any]]:
    """The records of the sets that were merged, or of the only one."""
    return list(faces.record.get("sets", [faces.record]))


def _synthetic(faces: FaceSet) -> list[bool]:
    """Set by set, whether a generator made the faces."""
    return [bool(one.get("synthetic")) for one in _sets(faces)]


def _name(paths: Sequence[str], split: str, faces: FaceSet) -> str:
    made = zip(paths, _synthetic(faces), strict=True)
    names = " + ".join(Path(path).resolve().name + (" (synthetic)" if synthetic else "") for path, synthetic in made)
    return names if split == "all" else f"{names}, {split}"


def _row_hash(faces: FaceSet) -> str:
    """SHA-256 of pixels and labels in order: two evaluations with one hash judged the same faces."""
    digest = hashlib.sha256(np.ascontiguousarray(faces.images).tobytes())
    digest.update("\n".join(faces.label_texts().tolist()).encode())
    return digest.hexdigest()


def _opened(classifier: Classifier) -> tuple[Any, str]:
    """The network as Keras has it, or None and why not."""
    try:
        return classifier.keras_model(), ""
    except DataError as error:
        return None, str(error)


def _learning(classifier: Classifier, log: str | None) -> dict[str, Any] | None:
    """The curves of a ``log.csv`` of Keras' CSVLogger; the first accuracy and loss that have a ``val_`` twin."""
    path = Path(log) if log is not None else classifier.source and classifier.source.with_name("log.csv")
    if path is None or (log is None and not path.exists()):
        return None
    try:
        table = pd.read_csv(path).apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: is not a log.csv of a training ({printable(error)})") from error
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


def _chosen_notes(faces: FaceSet, classifier: Classifier) -> list[str]:
    """A warning where the model, or one of its family, chose the faces by which it is scored here."""
    made = [one for one in _sets(faces) if one.get("synthetic")]
    name = classifier.name
    if classifier.sha256 in {one.get("judge_sha256") for one in made}:
        return [f"{name} itself chose the synthetic faces by these labels: that it agrees says nothing."]
    own = family(classifier.sha256, classifier.card)
    for one in made:
        if not own.isdisjoint([one.get("judge_sha256"), *(one.get("judge_family") or ())]):
            judge = one.get("judge")
            return [
                f"{judge}, which chose the synthetic faces by these labels, is related to {name}: it agrees too often."
            ]
    return []


def _notes(faces: FaceSet, answers: Answers) -> list[str]:
    notes, roles = list(answers.classifier.remarks), role(faces.usage[answers.rows])
    if not answers.preparation.fer2013:
        rows = answers.rows
        small = len(rows) if faces.origins is None else sum(origin is None for origin in faces.origins[rows])
        notes += [f"{small} of the {len(rows)} faces came as 48x48 pixels and were enlarged."] if small else []
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
    return npz_bytes(**arrays)
