"""Several classifiers are made one file, with what is known about it beside."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...classify.card import described
from ...classify.classifier import Classifier, load_classifier
from ...classify.ensemble import fit_stack, in_order_of, mean_weights, soft_vote, stacked
from ...classify.evaluation.scores import summary
from ...classify.feature_reference import write_feature_reference
from ...classify.saving import save_classifier, validation_bytes
from ...data.face_set import role
from ...runtime.errors import UsageError
from ...runtime.files import write_atomically
from .calibrate import coded_faces, validation_faces


def make_ensemble(
    models: Sequence[str],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    stack: bool = False,
    average_weights: bool = False,
    data: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Join classifiers and save them as one; returns what is written to ``NAME.json``.

    Args:
        models: Keras files with their ``.json``, or names of bundled classifiers.
        out: the new ``.keras`` file; ``NAME.json`` and, with data, ``NAME.validation.npz`` are written beside it, and
            ``NAME.features.npz`` where the last member has it or, of a mean of weights, the data have training faces.
        weights: of a soft vote; None for equal ones.
        stack: fit a layer over the members in place of a vote, on the validation faces of ``data``.
        average_weights: make one network of the mean of the members' weights in place of a vote.
        data: labelled faces; the ensemble's scores on their validation split are recorded.
        device: where the members judge them.

    Raises:
        DataError: a member cannot be used, or the data have no validation faces.
        UsageError: options that contradict each other.
    """
    out = Path(out)
    if out.suffix != ".keras":
        raise UsageError(f"--out {out}: an ensemble is a .keras file; write for example {out.with_suffix('.keras')}")
    if stack and data is None:
        raise UsageError("--stack fits a layer on labelled faces; name them with --data")
    if stack and weights is not None:
        raise UsageError("--stack and --shares exclude each other; the fitted layer has weights of its own")
    if stack and average_weights:
        raise UsageError("--stack and --average-weights exclude each other; the one is a layer over several networks")
    members = [load_classifier(model, device, view="48") for model in models]
    labels = members[0].labels
    card = _card(members, weights, "stacked" if stack else "mean of weights" if average_weights else "soft vote")
    if average_weights:
        card |= {key: members[0].card[key] for key in ("input_range", "outputs") if key in members[0].card}
    if data is None:
        save_classifier((mean_weights if average_weights else soft_vote)(members, weights), out, card)
        return card
    everything, places = coded_faces([data], labels)
    chosen, codes, name, leaks = validation_faces(everything, places, [data], labels)
    faces, split = chosen.images, str(chosen.usage[0])
    answers = [in_order_of(labels, member, member.predict(faces)) for member in members]
    if stack:
        fitted = fit_stack(answers, codes, labels)
        model, probabilities = stacked(members, fitted), fitted.cross_fitted
    elif average_weights:
        model = mean_weights(members, weights)
        with tempfile.TemporaryDirectory() as folder:
            save_classifier(model, draft := Path(folder) / out.name, card)
            mean = load_classifier(draft, device)
        probabilities = mean.predict(faces)
    else:
        model = soft_vote(members, weights)
        shares = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
        probabilities = np.average(answers, axis=0, weights=shares).astype(np.float32)
    card["scores"] = _scores(probabilities, codes, answers, split, stack)
    save_classifier(model, out, card, validation_bytes(codes, probabilities, name, leaks))
    if average_weights:
        rows = (role(everything.usage) == "train") & (places >= 0)
        training = dataclasses.replace(everything.take(rows), labels=places[rows])
        write_feature_reference(out, mean, training, chosen)
    else:
        _keep_feature_reference(out, members[-1])
    return card


def _card(members: Sequence[Classifier], weights: Sequence[float] | None, method: str) -> dict[str, Any]:
    """The card before any face is judged."""
    ensemble: dict[str, Any] = {"method": method}
    if weights is not None:
        ensemble["weights"] = list(weights)
    ensemble["members"] = [described(member.name, member.sha256, member.card) for member in members]
    card: dict[str, Any] = {"labels": list(members[0].labels), "ensemble": ensemble}
    licences = sorted({str(member.card["licence"]) for member in members if member.card.get("licence")})
    if licences:
        card["licence"] = "; ".join(licences)
    return card


def _scores(
    probabilities: np.ndarray, codes: np.ndarray, answers: Sequence[np.ndarray], split: str, stack: bool
) -> dict[str, Any]:
    """How the ensemble and each member (by its ``answers``) do on the validation faces."""
    return {
        "validation_split": split,
        **summary(probabilities, codes),
        "members": [round(float((answer.argmax(axis=1) == codes).mean()), 4) for answer in answers],
        **({"cross_fitted": True} if stack else {}),
    }


def _keep_feature_reference(out: Path, last: Classifier) -> None:
    """A soft vote has the features of its last member, and so where the training faces lie in them."""
    reference = last.source.with_suffix(".features.npz") if last.source else None
    if reference is None or not reference.exists():
        return
    noise = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    ensemble = load_classifier(out, "cpu")
    ours, theirs = ensemble.features(noise), load_classifier(last.source, "cpu").features(noise)
    if ours.shape == theirs.shape and np.array_equal(ours, theirs):
        write_atomically(out.with_suffix(".features.npz"), reference.read_bytes())
