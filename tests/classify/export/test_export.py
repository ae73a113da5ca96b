"""Exported classifiers say what the original says, in their own runtimes."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fergan.classify import Classifier, load_classifier, save_classifier
from fergan.classify.backend import keras  # before TensorFlow imports it
from fergan.classify.card import IMAGENET
from fergan.classify.export.export import BYTES_INPUT, BYTES_SIGNATURE, export_classifier
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image
from fergan.runtime.errors import DataError, UsageError
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (40, 48, 48), np.uint8)


def _rgb_model(path: Path) -> Path:
    """64 pixels, RGB, scaled as for ImageNet, logits in a dict: somebody else's kind of network."""
    keras.utils.set_random_seed(1)
    image = keras.Input((64, 64, 3), name="image")
    x = keras.layers.Conv2D(4, 5, strides=2, padding="same", activation="gelu")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x))
    model = keras.Model(image, {"scores": keras.layers.Dense(3, name="scores")(x)})
    facts = {"labels": ["happy", "sad", "neutral"], "input_range": "imagenet", "outputs": "logits"}
    save_classifier(model, path.with_suffix(".keras"), facts)
    if path.suffix == ".h5":
        model.save(path)
        path.with_suffix(".keras").unlink()
    return path


def _encoded(format: str, mode: str, size: tuple[int, int]) -> bytes:
    """A file of smooth noise, ``size`` (width, height)."""
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    coarse = RNG.integers(0, 256, (9, 9, channels), np.uint8)
    picture = Image.fromarray(coarse[..., 0] if mode == "L" else coarse, mode).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def fernet() -> Classifier:
    return load_classifier("fernet", "cpu")


@pytest.fixture(scope="module")
def served(fernet: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_classifier(fernet, "savedmodel", tmp_path_factory.mktemp("models") / "fer").path


def test_tensorflow_reproduces_the_model_for_any_number_of_faces(served: Path, fernet: Classifier) -> None:
    tf = pytest.importorskip("tensorflow")
    assert served.name == "1" and (served / "saved_model.pb").exists()
    assert [entry.name for entry in served.parent.iterdir()] == ["1"]
    signature = tf.saved_model.load(str(served)).signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == ["pixels"]
    assert list(signature.structured_outputs) == [fernet.output_name]
    for count in (1, 2, 7):
        pixels = FACES[:count, ..., None].astype(np.float32)
        found = signature(pixels=tf.constant(pixels))[fernet.output_name].numpy()
        assert np.abs(found - fernet.predict(FACES[:count])).max() <= 1e-5
    facts = json.loads((served / "assets.extra" / "fergan.json").read_text())
    assert tuple(facts["labels"]) == fernet.labels and facts["sha256"] == fernet.sha256


def test_image_files_are_prepared_as_fergan_prepares_them(served: Path, fernet: Classifier) -> None:
    tf = pytest.importorskip("tensorflow")
    files = [
        _encoded(format, mode, size)
        for format, mode in (("PNG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "L"), ("JPEG", "RGB"))
        for size in ((48, 48), (64, 64), (31, 40), (213, 160))
    ]
    prepared = prepare_faces([read_image(file) for file in files])
    from fergan.classify.export.worker import face_from_file

    in_tensorflow = np.stack([face_from_file(tf.constant(file)).numpy()[..., 0] for file in files])
    apart = np.abs(in_tensorflow - prepared)
    assert apart.max() <= 1 and (apart > 0).mean() < 0.002
    signature = tf.saved_model.load(str(served)).signatures[BYTES_SIGNATURE]
    found = signature(**{BYTES_INPUT: tf.constant(files)})[fernet.output_name].numpy()
    assert np.abs(found - fernet.predict(prepared)).max() < 0.01
    with pytest.raises(tf.errors.InvalidArgumentError):
        signature(**{BYTES_INPUT: tf.constant([files[0], b"no picture"])})


def test_a_keras_file_does_not_inherit_the_answers_of_another(tmp_path: Path) -> None:
    model = load_classifier(_rgb_model(tmp_path / "mine.keras"), "cpu")
    out = tmp_path / "out"
    out.mkdir()
    for ending in ("validation", "features"):
        (out / f"mine.{ending}.npz").write_bytes(b"of another model")
    export_classifier(model, "keras", out)
    assert sorted(path.name for path in out.iterdir()) == ["mine.json", "mine.keras"]


def test_a_foreign_network_keeps_its_own_input_and_takes_files(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    foreign = load_classifier(_rgb_model(tmp_path / "foreign.keras"), "cpu")
    done = export_classifier(foreign, "savedmodel", tmp_path / "out", version=20250101)
    assert done.path.name == "20250101"
    signatures = tf.saved_model.load(str(done.path)).signatures
    inputs = RNG.uniform(-1, 1, (5, 64, 64, 3)).astype(np.float32)
    scores = signatures["serving_default"](image=tf.constant(inputs))["scores"].numpy()
    assert np.abs(scores - foreign.call(inputs)).max() <= 1e-5
    file = tf.io.encode_png(FACES[0][..., None])
    probabilities = signatures[BYTES_SIGNATURE](**{BYTES_INPUT: tf.stack([file])})["scores"].numpy()
    assert np.abs(probabilities - foreign.predict(FACES[:1])).max() <= 1e-5
    with pytest.raises(UsageError, match="this version exists"):
        export_classifier(foreign, "savedmodel", tmp_path / "out", version=20250101)


@pytest.mark.parametrize("name", ["fernet", "foreign"])
def test_onnx_runtime_reproduces_the_model(name: str, fernet: Classifier, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    original = fernet if name == "fernet" else load_classifier(_rgb_model(tmp_path / "foreign.keras"), "cpu")
    path = export_classifier(original, "onnx", tmp_path / "out").path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    low, high = np.min(original.input_range), np.max(original.input_range)
    inputs = RNG.uniform(low, high, (7, *original.input_shape)).astype(np.float32)
    for count in (1, 2, 7):
        (found,) = session.run([original.output_name], {original.input_name: inputs[:count]})
        assert np.abs(found - original.call(inputs[:count])).max() <= 1e-5
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == list(original.labels)
    assert facts["sha256"] == original.sha256
    opened = load_classifier(path, "cpu")
    assert opened.labels == original.labels and opened.input_range == original.input_range
    assert np.abs(opened.predict(FACES) - original.predict(FACES)).max() <= 1e-5


def test_an_h5_file_becomes_a_keras_file(tmp_path: Path) -> None:
    original = load_classifier(_rgb_model(tmp_path / "foreign.h5"), "cpu")
    done = export_classifier(original, "keras", tmp_path / "out")
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"foreign.keras", "foreign.json"}
    opened = load_classifier(done.path, "cpu")
    assert opened.labels == original.labels and opened.input_range == IMAGENET
    assert np.array_equal(opened.predict(FACES), original.predict(FACES))


def test_what_differs_from_the_model_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _rgb_model(tmp_path / "foreign.keras")
    opened = load_classifier(path, "cpu")
    monkeypatch.setattr("fergan.classify.export.export.TOLERANCE", 0.0)  # TensorFlow rounds otherwise than torch
    with pytest.raises(DataError, match="differs by"):
        export_classifier(opened, "savedmodel", tmp_path / "out")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match="has changed since it was opened"):
        export_classifier(opened, "keras", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_requests_that_make_no_sense(fernet: Classifier, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only a SavedModel has one"):
        export_classifier(fernet, "onnx", tmp_path, version=1)
    with pytest.raises(UsageError, match="savedmodel, onnx, keras"):
        export_classifier(fernet, "tflite", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        export_classifier(fernet, "keras", tmp_path / "file" / "out")
