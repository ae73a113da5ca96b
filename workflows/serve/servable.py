"""One version of a model, opened: a classifier that fergan reads, or a SavedModel that TensorFlow runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.faces import Preparation
from ...runtime.errors import DataError, first_line
from ...runtime.stderr import silenced
from .refusal import Refusal, code_of_number
from .tensors import Signature, TensorInfo, Tensors
from .uploads import read_picture

if TYPE_CHECKING:
    from ...classify.classifier import Classifier

DEFAULT_SIGNATURE = "serving_default"
_log = logging.getLogger(__name__)
MODEL_FILES = (".keras", ".h5", ".hdf5", ".onnx")


@dataclass(frozen=True)
class Servable:
    """A model, ready to run.

    Attributes:
        signatures: by name; ``serving_default`` is meant where a request names none.
        faces: from uint8 [N, *preparation.shape] ``faces`` to probabilities, its one output; None where the labels are
            not known.
        preparation: how pictures become such faces, whatever their crop.
        labels: of the probabilities.
        sha256: of the model file, None for a SavedModel.
    """

    signatures: Mapping[str, Signature]
    faces: Signature | None = None
    preparation: Preparation = Preparation()
    labels: tuple[str, ...] = ()
    sha256: str | None = None

    def signature(self, name: str) -> Signature:
        """The signature of a request that names ``name``, or none ("")."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise Refusal(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]


def open_servable(source: str | Path, device: str, max_pixels: int) -> Servable:
    """Open a model.

    Args:
        source: as a string, a model file or bundled name that ``load_classifier`` opens; as a path, a folder that holds
            one such file or a ``saved_model.pb``.
        device: ``auto``, ``cpu`` or ``cuda``.
        max_pixels: of a picture that is sent as a file.

    Raises:
        DataError: the folder holds no model or several, or the model is damaged.
    """
    if isinstance(source, str):
        return _open_classifier(source, device, max_pixels)
    folder = source
    if (folder / "saved_model.pb").is_file():
        return _open_saved_model(folder)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in MODEL_FILES and file.name[0] != ".")
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(f"{folder}: must hold one model ({', '.join(MODEL_FILES)}, or saved_model.pb); found: {found}")
    return _open_classifier(files[0], device, max_pixels)


def _open_classifier(path: str | Path, device: str, max_pixels: int) -> Servable:
    """With the signatures of a SavedModel that ``fergan export`` writes."""
    from ...classify.classifier import load_classifier
    from ...classify.export.export import BYTES_INPUT, BYTES_SIGNATURE

    classifier: Classifier = load_classifier(path, device)
    for remark in classifier.remarks:
        _log.warning("%s", remark)
    key, output, preparation = classifier.input_name, classifier.output_name, classifier.preparation()

    def call(inputs: Tensors) -> Tensors:
        return {output: classifier.call(inputs[key])}

    def predict(inputs: Tensors) -> Tensors:
        return {output: classifier.predict(inputs["faces"])}

    def read(inputs: Tensors) -> Tensors:
        pictures = (read_picture(content, max_pixels) for content in inputs[BYTES_INPUT])
        return {output: classifier.predict(preparation.prepare(pictures))}

    rows = {output: TensorInfo("DT_FLOAT", (None, len(classifier.labels)), "StatefulPartitionedCall:0")}
    every = {output: TensorInfo("DT_FLOAT", (None, len(classifier.outputs)), "StatefulPartitionedCall:0")}
    native = TensorInfo("DT_FLOAT", (None, *classifier.input_shape), f"{DEFAULT_SIGNATURE}_{key}:0")
    files = TensorInfo("DT_STRING", (None,), f"{BYTES_SIGNATURE}_{BYTES_INPUT}:0")
    servable = Servable(
        {
            DEFAULT_SIGNATURE: Signature({key: native}, every, call),
            BYTES_SIGNATURE: Signature({BYTES_INPUT: files}, rows, read),
        },
        Signature({"faces": TensorInfo("DT_UINT8", (None, *preparation.shape), "")}, rows, predict),
        preparation,
        tuple(classifier.labels),
        classifier.sha256,
    )
    classifier.predict(np.zeros((1, *preparation.shape), np.uint8))  # what is slow the first time, now
    return servable


def _open_saved_model(folder: Path) -> Servable:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow imports Keras, which then keeps to its backend; and Triton, which torch's backend of Keras loads, ends
    # the process when it comes while TensorFlow is being imported (both bring LLVM). So Keras first, on torch.
    from ...classify import backend  # noqa: F401  # isort: skip

    with nullcontext() if "tensorflow" in sys.modules else silenced():
        import tensorflow as tf  # isort: skip

    try:
        loaded = tf.saved_model.load(str(folder))
        functions = dict(loaded.signatures)
        signatures = {name: _tensorflow_signature(function, loaded) for name, function in functions.items()}
    except Exception as error:  # on damaged files TensorFlow raises almost any type
        raise DataError(f"{folder}: is not a SavedModel that TensorFlow can load ({first_line(error)})") from error
    if not signatures:
        raise DataError(f"{folder}: has no signatures; export it with model.export or fergan export")
    return Servable(signatures)


def _tensorflow_signature(function: Any, loaded: Any) -> Signature:
    import tensorflow as tf

    def info(spec: Any, name: str) -> TensorInfo:
        shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
        return TensorInfo(f"DT_{_dtype_name(spec.dtype.name)}", shape, name)

    specs = function.structured_input_signature[1]
    inputs = {key: info(spec, f"{DEFAULT_SIGNATURE}_{key}:0") for key, spec in specs.items()}
    returned = function.structured_outputs
    outputs = {
        key: info(spec, f"StatefulPartitionedCall:{index}") for index, (key, spec) in enumerate(returned.items())
    }
    kinds = {key: spec.dtype for key, spec in specs.items()}

    def run(arrays: Tensors) -> Tensors:
        assert loaded is not None  # the functions hold their variables by weak references only
        try:
            results = function(**{key: tf.constant(array, kinds[key]) for key, array in arrays.items()})
        except tf.errors.OpError as error:
            raise Refusal(first_line(error.message), code_of_number(error.error_code)) from error
        return {key: np.asarray(value.numpy()) for key, value in results.items()}

    rows = [item.shape for item in (*inputs.values(), *outputs.values())]
    batched = bool(inputs) and all(shape is not None and shape[:1] == (None,) for shape in rows)
    return Signature(inputs, outputs, run, batched)


def _dtype_name(name: str) -> str:
    """``float32`` -> ``FLOAT``, as the protocol buffers call it."""
    return {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}.get(name, name.upper())
