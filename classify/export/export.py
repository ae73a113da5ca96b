"""Exporting a classifier to other programs: TensorFlow Serving, ONNX Runtime, Keras.

SavedModel and ONNX are made by Keras on TensorFlow, in a child process (:mod:`fergan.classify.export.worker`), since
Keras has one backend a process and fergan's is torch. Before a file gets its name, it is loaded again and its outputs
are compared with those of Keras and of fergan.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...data.faces import Preparation
from ...runtime.errors import DataError, UsageError
from ...runtime.files import write_atomically
from ...runtime.version import __version__
from ..classifier import Classifier, load_classifier
from ..files.network import model_digest
from ..files.onnx import embedded
from ..files.open import open_keras_model
from ..keras_files.safety import Refused, check_archive
from ..saving import remove_companions, save_classifier

FORMATS = ("savedmodel", "onnx", "keras")
"""``savedmodel``: for TensorFlow Serving. ``onnx``: for ONNX Runtime. ``keras``: one ``.keras`` file."""

TOLERANCE = 1e-5
"""Largest allowed difference from the outputs of Keras and of fergan; for outputs beyond 1, times the largest."""

BYTES_SIGNATURE = "serving_bytes"
"""The signature of a SavedModel that takes PNG or JPEG files."""

BYTES_INPUT = "image_bytes"
"""Its input: DT_STRING [N]. TensorFlow Serving's REST API takes base64 (``{"b64": ...}``) for it."""

SIDECAR = "fergan.json"
"""Labels and provenance in the ``assets.extra`` of a SavedModel, which TensorFlow Serving leaves alone."""


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        path: the version folder of a SavedModel, or the file.
        pictures: how many pictures the comparison was made on.
        difference: the largest difference of any output from Keras' and fergan's; 0 for a plain copy.
    """

    path: Path
    pictures: int
    difference: float


def export_classifier(
    classifier: Classifier,
    format: str,
    folder: str | Path,
    *,
    version: int | None = None,
    faces: np.ndarray | None = None,
) -> Exported:
    """Write a classifier in another format; what has its final name is complete and was checked.

    - ``savedmodel`` -> ``FOLDER/VERSION/saved_model.pb``. Signature ``serving_default``: the network exactly as saved,
      input and output by their names in the Keras model, any number of rows. Signature :data:`BYTES_SIGNATURE`: PNG or
      JPEG files to probabilities, prepared as by ``prepare_faces(crop="none")``, to rare rounding in single pixels;
      EXIF orientation is not looked at. Labels and provenance in ``assets.extra/fergan.json``.
    - ``onnx`` -> ``FOLDER/NAME.onnx``: the network exactly as saved, any number of rows. Its metadata hold ``labels``
      (JSON list), ``input_range`` (JSON pair or three), ``outputs`` (``probabilities`` or ``logits``), ``sha256`` of
      the model that it was made from, and ``producer`` facts. :func:`load_classifier` opens it again.
    - ``keras`` -> ``FOLDER/NAME.keras`` and what belongs beside it: a copy, or what Keras makes of an ``.h5`` file.

    Args:
        classifier: with a model file behind it.
        format: one of :data:`FORMATS`.
        folder: made if it is not there.
        version: of a SavedModel: 0 or more; None takes the next after the largest that is there, from 1 on.
        faces: uint8 [N, 48, 48], on which the comparison is made besides 64 of noise.

    Raises:
        UsageError: an unknown format, a version that exists or that the format does not have, a missing package, or a
            model that has no other form (ONNX files become ONNX files only).
        DataError: Keras on TensorFlow cannot load or convert the model, the result differs, or it cannot be written.
    """
    if format not in FORMATS:
        raise UsageError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if version is not None and (format != "savedmodel" or version < 0):
        raise UsageError("a version is 0 or more, and only a SavedModel has one; leave out --version")
    source = classifier.source
    if source is None:
        raise UsageError(f"the classifier {classifier.name} has no model file that could be exported")
    if source.suffix == ".onnx" and format != "onnx":
        raise UsageError(f"{source}: Keras cannot read ONNX files, so --format onnx is the only one")
    if format == "onnx":
        _need("onnx", "onnxruntime", "tf2onnx")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))  # no version number: servers pass it over
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error.strerror}); give another --out") from error
    try:
        check = _check_faces(faces)
        if format == "keras":
            return _to_keras(classifier, folder, draft, check)
        if format == "onnx":
            return _to_onnx(classifier, folder, draft, check)
        return _to_savedmodel(classifier, folder, draft, check, version)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _to_savedmodel(
    classifier: Classifier, folder: Path, draft: Path, faces: np.ndarray, version: int | None
) -> Exported:
    if version is None:
        version = max((int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()), default=0) + 1
    path = folder / str(version)
    if path.exists():
        raise UsageError(f"{path}: this version exists; choose another --version or leave it out for the next one")
    difference = _in_child(classifier, "savedmodel", draft, faces)
    made = draft / "savedmodel"
    (made / "assets.extra").mkdir()
    facts = {**_provenance(classifier), "preparation": Preparation().as_dict(), "card": classifier.card}
    (made / "assets.extra" / SIDECAR).write_text(json.dumps(facts, indent=2) + "\n")
    try:
        os.rename(made, path)
    except OSError as error:  # somebody else was faster, or it cannot be written
        raise DataError(f"{path}: cannot be made ({error.strerror}); choose another --version or --out") from error
    return Exported(path, len(faces), difference)


def _to_onnx(classifier: Classifier, folder: Path, draft: Path, faces: np.ndarray) -> Exported:
    source, content = _source(classifier)
    made = draft / f"{classifier.name}.onnx"
    if source.suffix == ".onnx":
        import onnx

        model = onnx.load_model_from_string(content)
        onnx.helper.set_model_props(model, _properties(classifier))
        made.write_bytes(model.SerializeToString())
        inputs = _native(classifier, faces)
        difference = _compared(classifier, load_classifier(made, "cpu").call(inputs), classifier.call(inputs))
    else:
        difference = _in_child(classifier, "onnx", draft, faces)
    path = folder / f"{classifier.name}.onnx"
    write_atomically(path, made.read_bytes())
    return Exported(path, len(faces), difference)


def _to_keras(classifier: Classifier, folder: Path, draft: Path, faces: np.ndarray) -> Exported:
    source, content = _source(classifier)
    made = draft / f"{classifier.name}.keras"
    card = classifier.full_card()
    difference = 0.0
    if source.suffix == ".keras":
        made.write_bytes(content)
        made.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
        if classifier.validation is not None:
            made.with_suffix(".validation.npz").write_bytes(classifier.validation)
    else:
        save_classifier(open_keras_model(source, content), made, card, classifier.validation)
        inputs = _native(classifier, faces)
        difference = _compared(classifier, load_classifier(made, "cpu").call(inputs), classifier.call(inputs))
    features = source.with_suffix(".features.npz")
    if features.exists():
        shutil.copyfile(features, made.with_suffix(".features.npz"))
    remove_companions(folder / made.name)
    for file in sorted(draft.iterdir(), key=lambda file: file == made):  # the model last: then all of it is there
        write_atomically(folder / file.name, file.read_bytes())
    return Exported(folder / made.name, len(faces), difference)


def _in_child(classifier: Classifier, format: str, draft: Path, faces: np.ndarray) -> float:
    """Have Keras on TensorFlow write ``DRAFT/savedmodel`` or ``DRAFT/NAME.onnx``; the largest difference found."""
    source, content = _source(classifier)
    copy = draft / "source.keras"
    try:
        if source.suffix == ".keras":
            check_archive(content)
            copy.write_bytes(content)
        else:
            save_classifier(open_keras_model(source, content), copy, {})
    except Refused as error:
        raise DataError(f"{source}: cannot be exported: {error}") from error
    inputs = _native(classifier, faces)
    np.savez(draft / "check.npz", inputs=inputs, faces=faces)
    job = {
        "source": str(copy.resolve()),
        "format": format,
        "out": str(draft.resolve() / ("savedmodel" if format == "savedmodel" else f"{classifier.name}.onnx")),
        "input_name": classifier.input_name,
        "output_name": classifier.output_name,
        "scaling": classifier.scaling,
        "logits": classifier.card.get("outputs") == "logits",
        "bytes": [BYTES_SIGNATURE, BYTES_INPUT],
        "properties": _properties(classifier),
    }
    (draft / "job.json").write_text(json.dumps(job))
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"  # the outputs of GPUs are less exact
    command = [sys.executable, "-m", "fergan.classify.export.worker", str(draft)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise DataError(f"{source}: cannot be exported as {format}: {lines[-1].strip()}")
    with np.load(draft / "outputs.npz") as outputs:
        exported = outputs["exported"]
        difference = _compared(classifier, exported, outputs["keras"])
        difference = max(difference, _compared(classifier, exported, classifier.call(inputs)))
        if "bytes" in outputs:
            difference = max(difference, _compared(classifier, outputs["bytes"], classifier.predict(faces)))
    return difference


def _source(classifier: Classifier) -> tuple[Path, bytes]:
    """The model file that the classifier was opened from, and what is in it, with the arrays beside an ONNX file."""
    source = classifier.source
    assert source is not None
    content = source.read_bytes()
    external = b""
    if source.suffix == ".onnx":
        model, external = embedded(source, content)
    if model_digest(content, external) != classifier.sha256:
        raise DataError(f"{source}: has changed since it was opened; open it again")
    return source, model.SerializeToString() if external else content


def _compared(classifier: Classifier, exported: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, if it is allowed."""
    difference = float(np.abs(exported - expected).max()) if exported.shape == expected.shape else float("inf")
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise DataError(
            f"{classifier.source}: the exported network differs by {difference:.1e} where {allowed:.1e} is allowed; "
            "nothing was written. Some layer of it works otherwise on TensorFlow"
        )
    return difference


def _check_faces(faces: np.ndarray | None) -> np.ndarray:
    """uint8 [N, 48, 48]: 64 pictures of coarse and of fine noise, and ``faces``."""
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (32, 48, 48), np.uint8)
    coarse = rng.integers(0, 256, (32, 6, 6), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    return np.concatenate([fine, coarse] if faces is None else [fine, coarse, faces])


def _native(classifier: Classifier, faces: np.ndarray) -> np.ndarray:
    """Faces as inputs of the network itself: float32 [N, H, W, C] in its range."""
    height, width, channels = classifier.input_shape
    scale, offset = (np.asarray(of) for of in classifier.scaling)
    sized = np.stack([np.asarray(Image.fromarray(face).resize((width, height))) for face in faces])
    return (np.repeat(sized[..., None], channels, axis=-1) * scale + offset).astype(np.float32)


def _provenance(classifier: Classifier) -> dict[str, Any]:
    return {
        "name": classifier.name,
        "labels": list(classifier.outputs),
        "input_shape": list(classifier.input_shape),
        "input_range": np.array(classifier.input_range).tolist(),
        "outputs": classifier.card.get("outputs", "probabilities"),
        **({} if classifier.input_shape == (48, 48, 1) else {"view": classifier.view}),
        "sha256": classifier.sha256,
        "fergan": __version__,
    }


def _properties(classifier: Classifier) -> dict[str, str]:
    """The provenance as ONNX metadata: strings; what is not a string is JSON."""
    facts = _provenance(classifier)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--format onnx needs {', '.join(missing)}; run: pip install 'fergan[onnx]'")
