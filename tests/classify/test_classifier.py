"""The bundled classifier keeps its word, and foreign files are opened carefully."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fergan.classify import load_classifier
from fergan.classify.bundled import BEST, DEFAULT, WEIGHTS, bundled_classifiers
from fergan.data.labels import FER2013
from fergan.data.readers.fer2013 import FaceSet
from fergan.runtime.errors import DataError, UsageError


@pytest.mark.parametrize("name", bundled_classifiers())
def test_bundled_classifiers_answer_and_score_as_their_files_say(name: str, fer2013: FaceSet) -> None:
    classifier, faces = load_classifier(name), fer2013.split("PublicTest")
    assert classifier.labels == FER2013
    with np.load(bundled_classifiers()[name].with_suffix(".validation.npz")) as stored:
        labels, answers = stored["labels"], stored["probabilities"]
    assert np.array_equal(labels, faces.labels)
    accuracy = (answers.argmax(axis=1) == labels).mean()
    assert accuracy >= 0.66 and accuracy == pytest.approx(classifier.card["scores"]["accuracy"], abs=1e-4)
    found = classifier.predict(faces.images[::6])
    np.testing.assert_allclose(found, answers[::6], atol=5e-3)  # other CPUs round differently


def test_the_default_and_the_best_have_names() -> None:
    assert load_classifier(device="cpu").name == DEFAULT
    assert load_classifier("best", device="cpu").name == BEST
    assert next(iter(bundled_classifiers())) == DEFAULT


def test_probabilities_depend_on_the_face_alone() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (70, 48, 48), dtype=np.uint8)
    classifier = load_classifier("fernet", device="cpu")
    together = classifier.predict(faces)
    assert together.shape == (70, 7)
    assert together.dtype == np.float32
    assert np.allclose(together.sum(axis=1), 1, atol=1e-5)
    order = np.random.default_rng(1).permutation(70)
    assert np.array_equal(classifier.predict(faces[order]), together[order])
    assert np.array_equal(classifier.predict(faces[66:67])[0], together[66])
    assert classifier.predict(faces[:0]).shape == (0, 7)


@pytest.mark.parametrize(
    "faces", [np.zeros((2, 48, 48)), np.zeros((48, 48), np.uint8), np.zeros((2, 64, 64), np.uint8)]
)
def test_faces_of_another_kind_are_refused(faces: np.ndarray) -> None:
    with pytest.raises(UsageError, match="uint8 \\[N, 48, 48\\]"):
        load_classifier(device="cpu").predict(faces)


def test_bad_model_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fernet"):
        load_classifier("no-such-model")
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        load_classifier(device="tpu")
    with pytest.raises(DataError, match="gone.keras: cannot be read"):
        load_classifier(tmp_path / "gone.keras")
    model = tmp_path / "model.keras"
    model.write_bytes((WEIGHTS / "fernet.keras").read_bytes())
    with pytest.raises(
        DataError,
        match="its 7 outputs are called.*model.json.*fear,happy,sad,surprise,neutral.*alphabetical",
    ):
        load_classifier(model)
    (tmp_path / "model.json").write_text('{"labels": ["a", "b"]}')
    with pytest.raises(DataError, match="one output for each label"):
        load_classifier(model)
    model.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises(DataError, match="not a zip of a Keras model, or a damaged one"):
        load_classifier(model)


def test_keras_saves_without_loading_tensorflow(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from fergan.classify.networks.fernet import fernet
        from fergan.classify.backend import keras
        from fergan.classify import save_classifier
        keras.utils.set_random_seed(0)
        save_classifier(fernet(widths=[4], depths=[1], stem=4), "new/tiny.keras", {})
        print("tensorflow" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    assert (tmp_path / "new" / "tiny.keras").exists()
