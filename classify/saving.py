"""Saving of classifiers, with what is known of them beside the model file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.labels import FER2013
from ..runtime.errors import UsageError
from ..runtime.files import make_folder, npz_bytes, printable, write_atomically, writing
from .card import PIXELS

if TYPE_CHECKING:
    from ..data.face_set import FaceSet
    from .backend import keras
    from .classifier import Classifier

COMPANIONS = (".validation.npz", ".features.npz")
"""Endings of the files beside ``NAME.keras`` that are of that model alone."""


def save_classifier(
    model: Classifier | keras.Model,
    path: str | Path,
    card: Mapping[str, Any] | None = None,
    validation: bytes | None = None,
) -> None:
    """Write ``NAME.keras`` and, beside it, ``NAME.json``; each appears complete or not at all.

    The :data:`COMPANIONS` of another model, which had the name before, are deleted first.

    Args:
        model: what :func:`.classifier.load_classifier` gives; or a Keras model from ``pixels`` float32 [N, 48, 48, 1]
            in 0..255 to probabilities float32 [N, K].
        path: ends in ``.keras``.
        card: what the model file cannot say; at least ``labels``, the names of the K outputs in order;
            ``input_range`` is 0..255 unless it is there. None for that of a :class:`.classifier.Classifier`.
        validation: from :func:`validation_bytes`; written to ``NAME.validation.npz``. None likewise.

    Raises:
        UsageError: another ending, or a Keras model without a card.
        DataError: the folder cannot be written to, or the network is not one of Keras'.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise UsageError(f"{printable(path)}: a classifier is saved as a .keras file; write {path.stem}.keras")
    from .classifier import Classifier

    if isinstance(model, Classifier):
        card = model.full_card() if card is None else card
        validation = model.validation if validation is None else validation
        network = model.keras_model()
    else:
        network = model
    if card is None:
        raise UsageError("save_classifier needs the card of a Keras model, at least {'labels': [...]}")
    make_folder(path.parent)
    content = keras_bytes(network)
    remove_companions(path)
    if validation is not None:
        write_atomically(path.with_suffix(".validation.npz"), validation)
    said = {**card, "input_range": card.get("input_range", list(PIXELS))}
    write_atomically(path.with_suffix(".json"), (json.dumps(said, indent=2) + "\n").encode())
    write_atomically(path, content)


def remove_companions(path: Path) -> None:
    """Delete the :data:`COMPANIONS` of a ``.keras`` file, which is about to be replaced."""
    for ending in COMPANIONS:
        with writing(companion := path.with_suffix(ending)):
            companion.unlink(missing_ok=True)


def keras_bytes(network: keras.Model) -> bytes:
    """A Keras model as the content of a ``.keras`` file."""
    from .backend import keras

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.keras"
        keras.saving.save_model(network, draft)
        return draft.read_bytes()


def validation_name(faces: FaceSet, otherwise: str) -> str:
    """What to call validation faces: FER2013's PublicTest by its name, others as is said."""
    known = faces.label_names == FER2013 and set(faces.usage.tolist()) == {"PublicTest"} and faces.official
    return "FER2013 PublicTest" if known else otherwise


def validation_bytes(
    labels: np.ndarray, probabilities: np.ndarray, name: str, leaks: np.ndarray | None = None
) -> bytes:
    """Pack a classifier's answers to faces that it was not fitted on, by which label counts can be corrected.

    Args:
        labels: int [M], the true classes.
        probabilities: float32 [M, K].
        name: of the faces, for example ``FER2013 PublicTest``.
        leaks: bool [M], which of them have copies among the training faces; None where nobody looked. Reports leave
            those out: a classifier knows them too well.

    Returns:
        An ``.npz`` file with ``labels`` int16, ``probabilities`` float32, ``name`` and, unless None, ``leaks``.
    """
    known = {} if leaks is None else {"leaks": leaks}
    return npz_bytes(labels=labels.astype(np.int16), probabilities=probabilities, name=np.array(name), **known)
