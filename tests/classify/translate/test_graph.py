"""Translated networks say what Keras says; what has no translation is left to Keras, never guessed."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fergan.classify import load_classifier, save_classifier
from fergan.classify.backend import keras
from fergan.classify.keras_files.errors import Untranslatable
from fergan.classify.keras_files.keras3 import KerasFile
from fergan.classify.keras_files.safety import Refused
from fergan.classify.translate.graph import TorchNetwork, translate

L = keras.layers
LABELS = ["a", "b", "c"]


def plain() -> keras.Model:
    """VGG and DCGAN discriminator alike: one chain, a dense head."""
    return keras.Sequential(
        [
            keras.Input((48, 48, 1)),
            L.Rescaling(1 / 127.5, offset=-1),
            L.Conv2D(8, 3, activation="elu", padding="same"),
            L.BatchNormalization(),
            L.MaxPooling2D(),
            L.SpatialDropout2D(0.2),
            L.Conv2D(12, 5, strides=2, padding="same", use_bias=False),
            L.BatchNormalization(scale=False),
            L.LeakyReLU(),
            L.Conv2D(12, 3, groups=3, dilation_rate=2),
            L.PReLU(shared_axes=[1, 2]),
            L.ELU(),
            L.Flatten(),
            L.Dense(16, activation="gelu"),
            L.BatchNormalization(center=False),
            L.Dropout(0.5),
            L.Dense(3, activation="softmax"),
        ]
    )


def xception() -> keras.Model:
    """mini-XCEPTION alike: separable convolutions, and a head that is a convolution before the pooling."""
    pixels = keras.Input((48, 48, 1))
    x = L.Conv2D(8, 3, use_bias=False, kernel_regularizer=keras.regularizers.l2(0.01))(pixels)
    x = L.Activation("relu")(L.BatchNormalization()(x))
    shortcut = L.BatchNormalization()(L.Conv2D(16, 1, strides=2, padding="same", use_bias=False)(x))
    x = L.BatchNormalization()(L.SeparableConv2D(16, 3, padding="same", use_bias=False)(x))
    x = L.MaxPooling2D(3, strides=2, padding="same")(x)
    x = L.Add()([x, shortcut])
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(L.ReLU(6.0)(x))
    x = L.GlobalAveragePooling2D()(L.Conv2D(3, 3, padding="same")(x))
    return keras.Model(pixels, L.Activation("softmax")(x))


def graph() -> keras.Model:
    """A layer that is used twice, all kinds of merging, and a gate."""
    pixels = keras.Input((48, 48, 1))
    x = L.Normalization(mean=120.0, variance=900.0)(L.Resizing(32, 32)(pixels))
    x = L.ZeroPadding2D(((1, 0), (0, 2)))(L.Concatenate()([x, x, x, x]))
    shared = L.Conv2D(4, 3, padding="same", activation="tanh")
    x = shared(x)
    y = shared(x)
    gate = L.Dense(4, activation="hard_sigmoid")(L.GlobalMaxPooling2D(keepdims=True)(y))
    z = L.Average()([L.Multiply()([x, gate]), x, L.Maximum()([x, y])])
    z = L.Add()([z, z])
    z = L.LayerNormalization()(L.Subtract()([z, L.Cropping2D(0)(y)]))
    z = L.AveragePooling2D(3, strides=1, padding="same")(L.Permute((2, 1, 3))(z))
    z = L.Reshape((4,))(L.GlobalAveragePooling2D(keepdims=True)(z))
    return keras.Model(pixels, L.Softmax()(L.Dense(3)(z)))


def transfer() -> keras.Model:
    """A network of keras.applications inside another, with augmentation before and a head after it."""
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(48, 48, 3), alpha=0.35)
    pixels = keras.Input((48, 48, 1))
    x = L.RandomRotation(0.1)(L.RandomFlip()(L.Concatenate()([pixels, pixels, pixels])))
    x = base(L.Rescaling(1 / 127.5, offset=-1.0)(x))
    head = keras.Sequential([L.GlobalAveragePooling2D(), L.Dropout(0.3), L.Dense(3, activation="softmax")])
    return keras.Model(pixels, head(x))


def efficientnet() -> keras.Model:
    """Squeeze-and-excitation; Keras' own preprocessing layers."""
    return keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=3)


def mobilenet_v3() -> keras.Model:
    """Arithmetic on tensors in place of layers."""
    return keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), classes=3, alpha=0.25)


def convnext() -> keras.Model:
    """A layer that only ``keras.applications`` has."""
    from keras.src.applications.convnext import ConvNeXt

    return ConvNeXt([1, 1, 1, 1], [8, 8, 16, 16], weights=None, input_shape=(32, 32, 3), classes=3, name="tiny")


def trained(build: Callable[[], keras.Model], variance: tuple[float, float] = (0.5, 1.5)) -> keras.Model:
    """The network with statistics and slopes as training leaves them, not as it finds them."""
    keras.utils.set_random_seed(1)
    model = build()
    rng = np.random.default_rng(0)
    ranges = {"gamma": (0.5, 1.5), "moving_variance": variance, "alpha": (0.1, 0.4)}
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization | L.PReLU | L.LayerNormalization):
            layer.set_weights([rng.uniform(*ranges.get(w.name, (-0.2, 0.2)), w.shape) for w in layer.weights])
    return model


def saved(model: keras.Model, folder: Path) -> bytes:
    path = folder / "model.keras"
    model.save(path)
    return path.read_bytes()


def translated(content: bytes) -> TorchNetwork:
    with KerasFile(content) as file:
        return translate(file, "cpu")


@pytest.mark.parametrize("build", [plain, xception, graph, transfer, efficientnet, mobilenet_v3, convnext])
def test_a_translation_says_what_keras_says(build: Callable[[], keras.Model], tmp_path: Path) -> None:
    # small variances where the signal of random weights would die out on its way
    model = trained(build, {transfer: (0.1, 0.3), mobilenet_v3: (0.06, 0.18)}.get(build, (0.5, 1.5)))
    network = translated(saved(model, tmp_path))
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype(np.float32))
    before = pixels.clone()
    with torch.inference_mode():
        expected = model(pixels, training=False)
        found = network.outputs(pixels)
    assert torch.equal(pixels, before)
    assert (network.input_shape, network.output_shape) == (model.input_shape[1:], model.output_shape[1:])
    assert expected.std(dim=0).max() > 1e-6  # the pictures are told apart, so there is something to agree on
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_bundled_classifier_needs_no_keras() -> None:
    script = (
        "import sys, numpy as np\n"
        "from fergan.classify.classifier import load_classifier\n"
        "classifier = load_classifier(device='cpu')\n"
        "classifier.predict(np.zeros((1, 48, 48), np.uint8))\n"
        "assert classifier.engine == 'torch'\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_row_depends_on_its_face_alone_wherever_it_stands(tmp_path: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
    for source in (None, _classifier(plain, tmp_path)):
        classifier = load_classifier(source, device="cpu")
        for answers in (classifier.predict, classifier.features):
            together = answers(faces)
            assert together.dtype == np.float32
            for start in range(33):
                assert np.array_equal(answers(faces[start : start + 7]), together[start : start + 7])


def _classifier(build: Callable[[], keras.Model], folder: Path) -> Path:
    save_classifier(trained(build), folder / f"{build.__name__}.keras", {"labels": LABELS})
    return folder / f"{build.__name__}.keras"


def unusual() -> keras.Model:
    """Upsampling has no translation; the head is in a nested model."""
    pixels = keras.Input((48, 48, 1))
    x = L.GlobalAveragePooling2D()(L.UpSampling2D(2)(L.Conv2D(6, 3, strides=2, activation="relu")(pixels)))
    return keras.Model(pixels, keras.Sequential([keras.Input((6,)), L.Dense(3, activation="softmax")])(x))


def test_what_has_no_translation_is_left_to_keras(tmp_path: Path) -> None:
    path = _classifier(unusual, tmp_path)
    classifier = load_classifier(path, device="cpu")
    assert classifier.engine == "keras"
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    model = keras.saving.load_model(path)
    head = model.layers[-1].layers[-1]
    features = classifier.features(faces)
    assert features.shape == (3, 6)
    pixels = torch.from_numpy(faces)[..., None].float()
    with torch.inference_mode():
        np.testing.assert_allclose(classifier.predict(faces), model(pixels).numpy(), atol=1e-6)
        np.testing.assert_allclose(head(torch.from_numpy(features)).numpy(), model(pixels).numpy(), atol=1e-6)


@pytest.mark.parametrize(("build", "width"), [(plain, 16), (xception, 32)])
def test_features_are_what_enters_the_last_kernel(build: Callable[[], keras.Model], width: int, tmp_path: Path) -> None:
    """One number a channel: the mean over space, where the head is a convolution."""
    path = _classifier(build, tmp_path)
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    model = keras.saving.load_model(path)
    head = [layer for layer in model.layers if isinstance(layer, L.Dense | L.Conv2D)][-1]
    with torch.inference_mode():
        entering = keras.Model(model.inputs, head.input)(torch.from_numpy(faces)[..., None].float()).numpy()
    classifier = load_classifier(path, device="cpu")
    assert classifier.engine == "torch"
    expected = entering.mean(axis=(1, 2)) if entering.ndim == 4 else entering
    assert expected.std() > 1e-3
    np.testing.assert_allclose(classifier.features(faces), expected, rtol=1e-5, atol=1e-5)
    assert classifier.features(faces[:0]).shape == (0, width)


def _edited(content: bytes, config: Callable[[str], str], weights: Callable[[h5py.File], None]) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(content))
    buffer = io.BytesIO(source.read("model.weights.h5"))
    with h5py.File(buffer, "r+") as file:
        weights(file)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", source.read("metadata.json"))
        archive.writestr("config.json", config(source.read("config.json").decode()))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return out.getvalue()


def _replaced(name: str, *, data: np.ndarray | None = None, **how: object) -> Callable[[h5py.File], None]:
    def replace(file: h5py.File) -> None:
        old = file[name][()]
        del file[name]
        file.create_dataset(name, data=old if data is None else data, **how)

    return replace


def _set_name(file: h5py.File) -> None:
    file["layers/conv2d/vars"].attrs["name"] = "another"


def _link(file: h5py.File) -> None:
    del file["layers/conv2d"]
    file["layers/conv2d"] = h5py.ExternalLink("/tmp/elsewhere.h5", "/layers/conv2d")


def test_contradictions_are_not_guessed_over(tmp_path: Path) -> None:
    content = saved(trained(plain), tmp_path)
    same, none = lambda text: text, lambda file: None
    assert translated(_edited(content, same, none)).output_shape == (3,)
    kernel = "layers/conv2d/vars/0"
    cases = [
        ("of another", same, _set_name),
        ("is a link", same, _link),
        ("should have weights", same, _replaced(kernel, data=np.zeros((3, 3, 1, 9), np.float32))),
        ("stored in full", same, _replaced(kernel, compression="gzip")),
        ("not a plain array", same, lambda file: file[kernel].attrs.update(dtype="bfloat16")),
        ("float", lambda text: text.replace('"float32"', '"mixed_float16"'), none),
        ("not a layer of Keras", lambda text: text.replace('"module": "keras.layers"', '"module": "mine"'), none),
        ("activation 'cube'", lambda text: text.replace('"gelu"', '"cube"'), none),
        ("has the options", lambda text: text.replace('"use_bias"', '"use_magic": true, "use_bias"'), none),
        ("data_format is", lambda text: text.replace("channels_last", "channels_first"), none),
    ]
    for reason, config, weights in cases:
        with pytest.raises(Untranslatable, match=reason):
            translated(_edited(content, config, weights))
    with pytest.raises(Refused, match="not a zip of a Keras model, or a damaged one"):
        translated(_edited(content, lambda text: text[:-20], none))
    with pytest.raises(Untranslatable, match=r"no metadata\.json"):  # which Keras opens by itself
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as archive:
            for name in ("config.json", "model.weights.h5"):
                archive.writestr(name, source.read(name))
        translated(out.getvalue())
    with pytest.raises(Untranslatable, match="written by Keras 1"):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as archive:
            for name in source.namelist():
                old = json.dumps({"keras_version": "1.2.0"}).encode()
                archive.writestr(name, old if name == "metadata.json" else source.read(name))
        translated(out.getvalue())


def _keras2(model: dict) -> dict:
    """A configuration of Keras 3 as Keras 2 would have written it; calls of nested models are counted from 1."""
    config = dict(model["config"])
    nested = {layer["config"]["name"] for layer in config["layers"] if "layers" in layer["config"]}

    def called(tensor: dict) -> list:
        name, node, position = tensor["config"]["keras_history"]
        return [name, node + (name in nested), position, {}]

    layers = []
    for layer in config["layers"]:
        made = _keras2(layer) if "layers" in layer["config"] else {**layer, "config": dict(layer["config"])}
        made["config"]["dtype"] = "float32"
        if "batch_shape" in made["config"]:
            made["config"]["batch_input_shape"] = made["config"].pop("batch_shape")
        given = [node["args"][0] for node in layer.get("inbound_nodes", ())]
        made["inbound_nodes"] = [[called(x) for x in (one if isinstance(one, list) else [one])] for one in given]
        made["name"] = made["config"]["name"]
        layers.append(made)
    config["layers"] = layers
    for key in ("input_layers", "output_layers"):
        if key in config:
            name, node, position = config[key] if isinstance(config[key][0], str) else config[key][0]
            config[key] = [[name, node + (name in nested), position]]
    return {"class_name": model["class_name"], "module": "keras", "config": config}


def nested() -> keras.Model:
    """A model inside another that is its last layer too."""
    pixels, tiles = keras.Input((48, 48, 1)), keras.Input((24, 24, 1))
    body = keras.Model(tiles, L.GlobalAveragePooling2D()(L.Conv2D(6, 3, activation="relu")(tiles)), name="body")
    head = keras.Sequential([keras.Input((6,)), L.Dense(3, activation="softmax")], name="head")
    return keras.Model(pixels, head(body(L.AveragePooling2D(2)(pixels))))


def test_models_inside_models_of_keras_2_say_what_they_said(tmp_path: Path) -> None:
    """Both of its formats: ``.h5``, and ``.keras`` as TensorFlow 2.12 to 2.15 wrote it."""
    model = trained(nested)
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1)).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(faces)).numpy()
    model.save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["model_config"] = json.dumps(_keras2(json.loads(file.attrs["model_config"])))
        file.attrs["keras_version"] = "2.15.0"
    source, out = zipfile.ZipFile(io.BytesIO(saved(model, tmp_path))), tmp_path / "old.keras"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps(_keras2(json.loads(source.read("config.json")))))
        archive.writestr("model.weights.h5", source.read("model.weights.h5"))
    for path in (tmp_path / "old.h5", out):
        classifier = load_classifier(path, "cpu", labels=LABELS, input_range=(0, 255))
        assert classifier.engine == "torch"
        np.testing.assert_allclose(classifier.call(faces), expected, atol=1e-6)


def test_a_sidecar_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = _classifier(plain, tmp_path)
    card = {"labels": ["x", "y", "z"], "input_range": [0, 255]}
    path.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8-sig")
    classifier = load_classifier(path, "cpu")
    assert classifier.labels == ("x", "y", "z")
    assert repr(classifier) == "<Classifier plain: 48x48x1 to x, y, z (torch, cpu)>"
