"""A classifier's temperature is fitted and goes into the weights of a new file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...classify.card import GivenRange
from ...classify.classifier import Classifier, load_classifier
from ...classify.evaluation.calibration import (
    TEMPERATURES,
    NotScalable,
    apply_temperature,
    cross_fitted,
    divide_logits,
    find_heads,
    fit_temperature,
)
from ...classify.evaluation.explain import network_inputs
from ...classify.evaluation.scores import Calibration, calibration, summary
from ...classify.saving import save_classifier, validation_bytes, validation_name
from ...data.audit.leaks import copies_in_training
from ...data.face_set import FaceSet, role
from ...data.labels import canonical_label
from ...data.merging import merge
from ...data.readers import read_faces
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically

_BATCH = 64
_TIE = 1e-4  # answers whose two best probabilities are nearer than this may swap by rounding


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        temperature: that the logits were divided by.
        n: validation faces.
        before, after: on these faces; ``after`` is cross-fitted.
        changed: how many faces got another label; none but for a vote of several members.
        members: of a vote, 1 for a single network.
    """

    temperature: float
    n: int
    before: Calibration
    after: Calibration
    changed: int
    members: int

    def lines(self) -> list[str]:
        """The result in words, a line each."""
        lines = [f"temperature {self.temperature:.4f}, fitted on {self.n} validation faces"]
        for name, before, after, unit in (
            ("ECE", 100 * self.before.ece, 100 * self.after.ece, " %"),
            ("MCE", 100 * self.before.mce, 100 * self.after.mce, " %"),
            ("NLL", self.before.nll, self.after.nll, ""),
            ("Brier", self.before.brier, self.after.brier, ""),
        ):
            digits = 2 if unit else 4
            lines.append(f"{name} {before:.{digits}f}{unit} before, {after:.{digits}f}{unit} after")
        lines.append("'after' is cross-fitted: each half of the faces by the temperature of the other half")
        if self.members > 1:
            lines.append(f"{self.changed} of {self.n} faces have another label, as each member is scaled by itself")
        low, high = TEMPERATURES
        if not low * 1.01 < self.temperature < high / 1.01:
            lines.append(
                f"remark: the temperature is at its limit ({low:g} to {high:g}); the answers say little about "
                "how sure to be; check --labels and --input-range first"
            )
        elif self.after.nll >= self.before.nll:
            lines.append("remark: nothing is gained on faces that it was not fitted on; keep the old file")
        return lines


def run_calibration(
    model: str | None,
    data: Sequence[str],
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    input_range: GivenRange | None = None,
    seed: int = 0,
) -> Calibrated:
    """Fit a temperature on the validation rows of data and write the calibrated model.

    Args:
        model, labels, input_range: as :func:`fergan.classify.classifier.load_classifier` takes them.
        data: sets with validation rows.
        out: the new ``.keras`` file; ``.json``, ``.validation.npz`` and, where there was one, ``.features.npz`` follow.
        seed: of the halves of the cross-fit.

    Raises:
        DataError: no validation rows, or a model that is not a Keras network with a softmax over a kernel.
        UsageError: ``out`` is not a ``.keras`` file.
    """
    out = Path(out)
    if out.suffix != ".keras":
        raise UsageError(f"--out {printable(out)}: must end in .keras")
    classifier = load_classifier(model, "cpu", labels=labels, input_range=input_range, view="48")
    if classifier.outputs != classifier.labels:
        raise DataError(
            f"{printable(classifier.source)}: cannot be calibrated: it has outputs that are not labels (valence, "
            "arousal)"
        )
    faces, codes, name, leaks = validation_faces(*coded_faces(data, classifier.labels), data, classifier.labels)
    logits = classifier.card.get("outputs") == "logits"
    try:
        network = classifier.keras_model()
        heads = find_heads(network, logits)
    except NotScalable as error:
        raise DataError(f"{printable(classifier.source)}: cannot be calibrated: {error}") from error
    given = classifier.predict(faces.images)
    members = given[None] if len(heads.layers) == 1 else _members(network, heads, classifier, faces.images)
    temperature = fit_temperature(members, codes, heads.weights)
    honest, _ = cross_fitted(members, codes, seed, heads.weights)
    divide_logits(heads, temperature)

    expected = apply_temperature(members, temperature, heads.weights)
    card = _card(classifier, temperature, expected, codes, name)
    _check(network, classifier, faces.images, expected, logits)
    source = classifier.source and classifier.source.with_suffix(".features.npz")
    reference = source.read_bytes() if source and source.exists() else None  # now: --out may be the model itself
    save_classifier(network, out, card, validation_bytes(codes, expected.astype(np.float32), name, leaks))
    if reference is not None:  # what enters the last layer has not changed
        write_atomically(out.with_suffix(".features.npz"), reference)
    return Calibrated(
        temperature,
        len(codes),
        calibration(given, codes),
        calibration(honest, codes),
        int((expected.argmax(axis=1) != given.argmax(axis=1)).sum()),
        len(heads.layers),
    )


def _card(
    classifier: Classifier, temperature: float, expected: np.ndarray, codes: np.ndarray, name: str
) -> dict[str, Any]:
    """The old card with the temperature, and with the scores of the scaled answers."""
    scores = {**classifier.card.get("scores", {}), **summary(expected, codes)}
    fit = {
        "method": "temperature",
        "temperature": temperature,
        "fitted_on": name,
        "faces": len(codes),
        "from_sha256": classifier.sha256,
    }
    # fitted on faces as FER2013 has them, so that is how it is shown faces from now on
    return {**classifier.full_card(), "view": "48", "calibration": fit, "scores": scores}


def coded_faces(data: Sequence[str], labels: Sequence[str]) -> tuple[FaceSet, np.ndarray]:
    """All rows of data sets, and their classes as places in ``labels``, int [N], -1 for others."""
    faces = merge([read_faces(path) for path in data], "all")
    known = [canonical_label(label) for label in labels]
    place = np.array([known.index(label) if label in known else -1 for label in faces.label_names])
    return faces, place[faces.labels]


def validation_faces(
    faces: FaceSet, codes: np.ndarray, data: Sequence[str], labels: Sequence[str]
) -> tuple[FaceSet, np.ndarray, str, np.ndarray | None]:
    """Of :func:`coded_faces`, the validation rows with a class that the model knows, their classes in its order, what
    to call them, and which have copies among the training rows."""
    rows = (role(faces.usage) == "validation") & (codes >= 0)
    if rows.sum() < 2:
        raise DataError(
            f"{printable(', '.join(data))}: has no validation rows (PublicTest, or validation) of the classes "
            f"{', '.join(map(canonical_label, labels))}, on which the model was not fitted"
        )
    splits = " + ".join(sorted(set(faces.usage[rows].tolist())))
    copies = copies_in_training(faces, rows)
    name = f"{' + '.join(Path(path).stem for path in data)} {splits}"
    chosen = faces.take(rows)
    return chosen, codes[rows], validation_name(chosen, name), None if copies is None else copies[0]


def _members(network: Any, heads: Any, classifier: Any, faces: np.ndarray) -> np.ndarray:
    """float32 [M, N, K]: what each member of a vote says."""
    from ...classify.backend import keras

    return _run(keras.Model(network.inputs, heads.probabilities), classifier, faces)


def _run(network: Any, classifier: Any, faces: np.ndarray) -> np.ndarray:
    """float32 [outputs, N, K]"""
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(faces), _BATCH):
            batch = torch.from_numpy(network_inputs(classifier, faces[start : start + _BATCH]))
            found = network(batch, training=False)
            parts.append([one.cpu().numpy() for one in (found if isinstance(found, list) else [found])])
    return np.stack([np.concatenate(rows) for rows in zip(*parts, strict=True)])


def _check(network: Any, classifier: Any, faces: np.ndarray, expected: np.ndarray, logits: bool) -> None:
    """The new network must say what scaling the old one's answers says; if not, nothing is written."""
    sample = slice(0, 256)
    found = _run(network, classifier, faces[sample])[0]
    if logits:
        found = np.exp(found - found.max(axis=1, keepdims=True))
        found /= found.sum(axis=1, keepdims=True)
    top = np.sort(expected[sample], axis=1)
    sure = top[:, -1] - top[:, -2] > _TIE
    same = found.argmax(axis=1) == expected[sample].argmax(axis=1)
    if not np.allclose(found, expected[sample], atol=1e-3) or not same[sure].all():
        raise DataError(f"{printable(classifier.source)}: the scaled network answers otherwise than expected")
