"""A network of others sees the face as it was made to see it: its own size, channels, type and range."""

import json
from pathlib import Path

import numpy as np
import pytest
from fergan.classify import load_classifier
from fergan.classify.backend import keras
from fergan.data.faces import Preparation, prepare_faces
from fergan.runtime.errors import DataError, UsageError
from PIL import Image

from ..support.probes import LABELS, probe, said

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (300, 260, 3), np.uint8)
L = keras.layers


def pillow(picture: np.ndarray, size: tuple[int, int], mode: str = "RGB") -> np.ndarray:
    """[1, H, W, C]: the plain way from a picture to a network's pixels."""
    image, square = Image.fromarray(picture).convert(mode), (0, 20, 260, 280)
    pixels = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC, box=square))
    return pixels.reshape(1, *size, -1)


def test_an_rgb_network_of_224_pixels_gets_what_pillow_makes(tmp_path: Path) -> None:
    classifier = load_classifier(probe(tmp_path / "big.onnx", ["N", 3, 224, 224]), "cpu")
    assert (classifier.view, classifier.preparation()) == ("own", Preparation("none", (224, 224), "rgb"))
    assert "its own 224x224 pixels, RGB" in classifier.remarks[0] and "--view 48" in classifier.remarks[0]
    pixels = pillow(PICTURE, (224, 224))
    np.testing.assert_array_equal(classifier.preparation().prepare([PICTURE]), pixels)
    np.testing.assert_allclose(classifier.predict(pixels), said(pixels / 255), atol=1e-6)
    np.testing.assert_allclose(classifier.predict(Image.fromarray(PICTURE)), said(pixels / 255), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "size"),
    [
        (["N", 3, 96, 64], {}, (96, 64)),  # not square
        ([2, 72, 72, 3], {"channels_last": True}, (72, 72)),  # a batch of its own
        (["N", 3, 80, 80], {"dtype": "UINT8", "card": {"input_range": None}}, (80, 80)),  # says its range by itself
        (["N", 3, "H", "W"], {"card": {"input_size": [60, 50]}}, (60, 50)),  # of any size
        (["N", 1, 64, 64], {}, (64, 64)),  # gray
        (["N", 3, 224, 224], {"valence": True}, (224, 224)),  # a second output
    ],
)
def test_inputs_of_every_kind(shape: list[int | str], options: dict, size: tuple[int, int], tmp_path: Path) -> None:
    classifier = load_classifier(probe(tmp_path / "net.onnx", shape, **options), "cpu")
    channels = classifier.input_shape[2]
    pixels = pillow(PICTURE, size, "RGB" if channels == 3 else "L")
    scale = 1 if options.get("dtype") == "UINT8" else 255
    found = classifier.predict(classifier.preparation().prepare([PICTURE]))
    np.testing.assert_allclose(found, said(pixels / scale), atol=1e-6)
    assert classifier.labels == LABELS


def test_view_48_shows_it_what_fer2013_shows(tmp_path: Path) -> None:
    path = probe(tmp_path / "big.onnx", ["N", 3, 224, 224])
    stretched = load_classifier(path, "cpu", view="48")
    assert (stretched.preparation(), stretched.remarks) == (Preparation(), ())
    own = load_classifier(path, "cpu")
    face = prepare_faces([PICTURE])
    np.testing.assert_array_equal(stretched.predict(face), own.predict(face))  # 48x48 faces stay welcome
    assert np.abs(own.predict(own.preparation().prepare([PICTURE])) - own.predict(face)).max() > 1e-3
    with pytest.raises(UsageError, match=r"uint8 \[N, 48, 48\] or \[N, 224, 224, 3\]"):
        own.predict(np.zeros((1, 224, 224), np.uint8))
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS, "input_range": [0, 1], "view": "48"}))
    assert load_classifier(path, "cpu").view == "48"
    assert load_classifier(path, "cpu", view="own").view == "own"
    assert load_classifier("fernet", "cpu", view="own").view == "48"  # 48 gray pixels are its own


def test_what_is_left_open_is_asked_for(tmp_path: Path) -> None:
    path = probe(tmp_path / "open.onnx", ["N", 3, "H", "W"])
    with pytest.raises(DataError, match=r'pictures of any size; write .* into open.json, such as \{"input_size": 224'):
        load_classifier(path, "cpu")
    path = probe(tmp_path / "small.onnx", ["N", 3, "H", "W"], card={"input_size": 4})
    with pytest.raises(DataError, match='"input_size" is 4'):
        load_classifier(path, "cpu")
    path = probe(tmp_path / "two.onnx", ["N", 3, 64, 64], valence=True, card={"labels": None})
    with pytest.raises(DataError, match=r"outputs valence \[2\], logits \[4\]; say which holds the expressions"):
        load_classifier(path, "cpu")
    path = probe(tmp_path / "two.onnx", ["N", 3, 64, 64], valence=True, card={"output": "expressions"})
    with pytest.raises(DataError, match="no output 'expressions'; its outputs are valence"):
        load_classifier(path, "cpu")
    path = probe(tmp_path / "byte.onnx", ["N", 3, 64, 64], dtype="UINT8")
    with pytest.raises(DataError, match=r"whole numbers \(uint8\), so its range is 0..255"):
        load_classifier(path, "cpu")
    path = probe(tmp_path / "net.onnx", ["N", 3, 64, 64], card={"view": "mine"})
    with pytest.raises(DataError, match='"view" is \'mine\'; write "48" or "own"'):
        load_classifier(path, "cpu")


def test_valence_and_arousal_among_the_outputs_are_no_labels(tmp_path: Path) -> None:
    path = probe(tmp_path / "net.onnx", ["N", 3, 64, 64], card={"labels": ["arousal", "happy", "sad", "valence"]})
    classifier = load_classifier(path, "cpu")
    faces = classifier.preparation().prepare([PICTURE])
    assert (classifier.labels, classifier.predict(faces).shape) == (("happy", "sad"), (1, 2))
    expected = said(faces / 255)[:, 1:3]
    np.testing.assert_allclose(classifier.predict(faces), expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS[:2], "input_range": [0, 1]}))
    with pytest.raises(DataError, match="call outputs that are not expressions valence and arousal"):
        load_classifier(path, "cpu")


def test_keras_networks_of_any_size_and_of_two_outputs(tmp_path: Path) -> None:
    face = keras.Input((None, None, 3), name="face")
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(face))
    expression = L.Dense(4, activation="softmax", name="expression")(pooled)
    card = {"labels": LABELS, "input_range": [-1, 1], "input_size": 60}
    for number, outputs in enumerate((expression, [L.Dense(2, name="valence")(pooled), expression])):
        path = tmp_path / f"net{number}.keras"
        model = keras.Model(face, outputs)
        model.save(path)
        path.with_suffix(".json").write_text(json.dumps(card))
        classifier = load_classifier(path, "cpu")
        assert classifier.input_shape == (60, 60, 3)
        faces = classifier.preparation().prepare([PICTURE])
        wanted = keras.Model(face, expression)((faces / 127.5 - 1).astype(np.float32)).detach().numpy()
        np.testing.assert_allclose(classifier.predict(faces), wanted, atol=1e-5)
