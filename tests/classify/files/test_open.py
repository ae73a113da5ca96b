"""Other people's models say what they said where they were made; files that ask for more than numbers are refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from fergan.classify import load_classifier
from fergan.classify.backend import keras
from fergan.data.labels import FER2013
from fergan.data.readers.fer2013 import FaceSet
from fergan.runtime.errors import DataError, UsageError
from fergan.workflows.cli.main import cli
from PIL import Image
from torch.nn import functional as F

L = keras.layers
LABELS = ("angry", "happy", "neutral")
FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


@pytest.fixture
def reference_folder() -> Path:
    for parent in Path(__file__).resolve().parents:
        place = Path(os.environ.get("FERGAN_REFERENCE", parent / "shared" / "reference"))
        if (place / "keras").is_dir():
            return place
    pytest.skip("no reference files: set FERGAN_REFERENCE to the folder that holds keras/")


def test_a_published_model_scores_what_was_published(reference_folder: Path, fer2013: FaceSet) -> None:
    file = reference_folder / "keras" / "fer2013_mini_XCEPTION.102-0.66.hdf5"
    classifier = load_classifier(file, "cpu")
    assert (classifier.engine, classifier.input_shape) == ("torch", (64, 64, 1))
    assert (classifier.labels, classifier.input_range, classifier.view) == (FER2013, (-1, 1), "48")
    assert "mini_XCEPTION" in classifier.remarks[0]
    faces = fer2013.split("PublicTest")
    accuracy = (classifier.predict(faces.images).argmax(axis=1) == faces.labels).mean()
    assert accuracy == pytest.approx(0.6523, abs=0.002)


def nested() -> keras.Model:
    """A colour network in a network, as in transfer learning; frozen, which changes how Keras lists its weights."""
    base = keras.Sequential(
        [keras.Input((60, 56, 3)), L.Conv2D(4, 3, strides=2), L.BatchNormalization(), L.ReLU(6.0)], name="base"
    )
    base.trainable = False
    pixels = keras.Input((60, 56, 3), name="face")
    x = L.GlobalAveragePooling2D()(L.LeakyReLU(negative_slope=0.1)(base(pixels)))
    return keras.Model(pixels, L.Dense(3, activation="softmax", name="verdict")(x))


def chain() -> keras.Model:
    """A classifier as Keras 1's examples have it."""
    return keras.Sequential(
        [
            keras.Input((24, 20, 1)),
            L.Conv2D(4, (3, 5), strides=2, padding="same", activation="relu", name="conv"),
            L.BatchNormalization(name="norm"),
            L.ZeroPadding2D(1, name="pad"),
            L.MaxPooling2D(name="pool"),
            L.Flatten(name="flat"),
            L.Dense(6, name="hidden"),
            L.Dropout(0.5, name="drop"),
            L.Dense(3, activation="softmax", name="out"),
        ],
        name="chain",
    )


def trained(build: Callable[[], keras.Model]) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = build()
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return model


def save(model: keras.Model, path: Path, **card: Any) -> Path:
    model.save(path)
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS, "input_range": [0, 255], **card}))
    return path


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("ending", [".keras", ".h5", ".hdf5"])
@pytest.mark.parametrize("build", [nested, chain])
def test_any_input_size_and_channel_count(build: Callable[[], keras.Model], ending: str, tmp_path: Path) -> None:
    model = trained(build)
    classifier = load_classifier(save(model, tmp_path / f"model{ending}", input_range=[-1, 1]), "cpu")
    height, width, channels = model.input_shape[1:]
    assert (classifier.engine, classifier.input_shape) == ("torch", (height, width, channels))
    assert (classifier.output_name, classifier.labels) == (model.layers[-1].name, LABELS)
    if build is nested:
        assert classifier.input_name == "face"
    pixels = F.interpolate(torch.from_numpy(FACES)[:, None].float(), (height, width), mode="bilinear", antialias=True)
    pixels = (pixels / 127.5 - 1).expand(-1, channels, -1, -1).permute(0, 2, 3, 1)
    with torch.inference_mode():
        expected = model(pixels, training=False).numpy()
    assert expected.std(axis=0).max() > 1e-4
    np.testing.assert_allclose(classifier.call(pixels.numpy()), expected, atol=1e-5)
    np.testing.assert_allclose(classifier.predict(FACES), expected, atol=1e-5)
    assert classifier.features(FACES).shape == (5, 4 if build is nested else 6)
    with pytest.raises(UsageError, match=f"must be float32 \\[N, {height}"):
        classifier.call(FACES[..., None])


def legacy(path: Path, config: Any, groups: dict[str, list[tuple[str, np.ndarray]]], version: str | None) -> Path:
    """An HDF5 file in the layout of Keras 1 and 2."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = np.bytes_(json.dumps(config))
        if version:
            file.attrs["keras_version"] = np.bytes_(version)
            file.attrs["backend"] = np.bytes_("tensorflow")
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [np.bytes_(name) for name in groups]
        for layer, arrays in groups.items():
            group = weights.create_group(layer)
            group.attrs["weight_names"] = [np.bytes_(name) for name, _ in arrays]
            for name, array in arrays:
                group.create_dataset(name, data=array)
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS, "input_range": [0, 255]}))
    return path


def keras_1(model: keras.Model, path: Path) -> Path:
    """:func:`chain` as Keras 1.2 saved it: a list of layers, ``nb_filter`` and ``border_mode``."""
    image: dict[str, Any] = {"dim_ordering": "tf"}
    config = [
        ("Convolution2D", "conv", {"nb_filter": 4, "nb_row": 3, "nb_col": 5, "subsample": [2, 2], **image}),
        ("BatchNormalization", "norm", {"mode": 0, "axis": -1, "epsilon": 1e-3, "momentum": 0.99}),
        ("ZeroPadding2D", "pad", {"padding": [1, 1], **image}),
        ("MaxPooling2D", "pool", {"pool_size": [2, 2], "strides": [2, 2], "border_mode": "valid", **image}),
        ("Flatten", "flat", {}),
        ("Dense", "hidden", {"output_dim": 6, "activation": "linear", "init": "glorot_uniform", "bias": True}),
        ("Dropout", "drop", {"p": 0.5}),
        ("Dense", "out", {"output_dim": 3, "activation": "softmax", "W_regularizer": None, "bias": True}),
    ]
    config[0][2].update(
        border_mode="same", activation="relu", bias=True, batch_input_shape=[None, 24, 20, 1], input_dtype="float32"
    )
    config[1][2].update(gamma_regularizer=None, beta_regularizer=None)
    layers = [{"class_name": kind, "config": {"name": name, "trainable": True, **o}} for kind, name, o in config]
    groups = {
        layer.name: [(f"{layer.name}_{i}", w) for i, w in enumerate(layer.get_weights())] for layer in model.layers
    }
    # today's Keras counts the scale and centre as options, Keras 1 always had both
    return legacy(path, {"class_name": "Sequential", "config": layers}, groups, None)


def keras_2(model: keras.Model, path: Path) -> Path:
    """:func:`nested` as Keras 2 saved it: lists for calls, the inner model's arrays in one group."""
    face = {"batch_input_shape": [None, 60, 56, 3], "dtype": "float32", "sparse": False, "name": "face"}
    conv = {"name": "conv2d_1", "filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "valid"}
    conv |= {"data_format": "channels_last", "dilation_rate": [1, 1], "activation": "linear", "use_bias": True}
    norm = {"name": "bn", "axis": [3], "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True}
    inner = [
        ("Conv2D", {**conv, "batch_input_shape": [None, 60, 56, 3]}),
        ("BatchNormalization", norm),
        ("ReLU", {"name": "relu", "max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}),
    ]
    base = {"name": "base", "layers": [{"class_name": kind, "config": options} for kind, options in inner]}
    mean = {"name": "mean", "data_format": "channels_last"}
    head = {"name": "verdict", "units": 3, "activation": "softmax", "use_bias": True}
    policy = {"class_name": "Policy", "config": {"name": "float32"}}
    layers = [
        ("InputLayer", "face", face, []),
        ("Sequential", "base", base, [[["face", 0, 0, {}]]]),
        ("LeakyReLU", "leaky", {"name": "leaky", "alpha": 0.1, "dtype": policy}, [[["base", 1, 0, {}]]]),
        ("GlobalAveragePooling2D", "mean", mean, [[["leaky", 0, 0, {}]]]),
        ("Dense", "verdict", head, [[["mean", 0, 0, {"training": False}]]]),
    ]
    # the inner model was called for the first time when it was made, so that this call is its node 1
    layers[1] = ("Sequential", "base", base, [[["face", 0, 0, {}]], [["face", 0, 0, {}]]])
    written = [{"class_name": k, "name": n, "config": c, "inbound_nodes": i} for k, n, c, i in layers]
    model_config = {"name": "model_1", "layers": written, "input_layers": [["face", 0, 0]]}
    model_config["output_layers"] = [["verdict", 0, 0]]
    kernel, bias, *norms = model.layers[1].get_weights()
    inner_arrays = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), norms, strict=True))
    arrays = [("conv2d_1/kernel:0", kernel), ("conv2d_1/bias:0", bias)]
    arrays += [(f"bn/{name}:0", array) for name, array in inner_arrays.items()]
    out = model.layers[-1].get_weights()
    groups = {"face": [], "base": arrays, "verdict": [("verdict/kernel:0", out[0]), ("verdict/bias:0", out[1])]}
    return legacy(path, {"class_name": "Model", "config": model_config}, groups, "2.2.4")


@pytest.mark.parametrize(("build", "write"), [(chain, keras_1), (nested, keras_2)])
def test_files_of_keras_1_and_2(
    build: Callable[[], keras.Model], write: Callable[[keras.Model, Path], Path], tmp_path: Path
) -> None:
    model = trained(build)
    classifier = load_classifier(write(model, tmp_path / "old.h5"), "cpu")
    assert classifier.engine == "torch"
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, *model.input_shape[1:])).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(inputs), training=False).numpy()
    np.testing.assert_allclose(classifier.call(inputs), expected, atol=1e-5)


def small(activation: str | None = "softmax", **extra: Any) -> keras.Model:
    pixels = keras.Input((48, 48, 1))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, strides=4, **extra)(L.Rescaling(1 / 255)(pixels)))
    return keras.Model(pixels, L.Dense(3, activation=activation, name="out")(x))


def test_what_a_file_cannot_say_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    small().save(path)
    with pytest.raises(DataError, match="its 3 outputs are called.*--labels A,B"):
        load_classifier(path, "cpu")
    with pytest.raises(DataError, match="what input range it takes.*--input-range.*0,255 .*0,1 .*-1,1 [^;]*$"):
        load_classifier(path, "cpu", labels=["Anger", "happy", "neutral"])
    known = load_classifier(path, "cpu", labels=["Anger", "happy", "neutral"], input_range=(0, 255))
    assert (known.labels, known.foreign, known.view) == (LABELS, True, "48")
    for card, reason in [
        ({"labels": ["a", "b"]}, "one output for each label"),
        ({"labels": ["anger", "angry", "happy"]}, "twice"),
        ({"labels": "abc"}, "list of names"),
        ({"labels": LABELS, "input_range": [1, 1]}, "two different numbers"),
        ({"labels": LABELS, "input_range": 1}, "two numbers"),
        ({"labels": LABELS, "input_range": "imagenet"}, "of three channels, but its input has 1"),
        ({"labels": LABELS, "outputs": "odds"}, "logits"),
    ]:
        path.with_suffix(".json").write_text(json.dumps(card))
        with pytest.raises(DataError, match=reason):
            load_classifier(path, "cpu")


def test_logits_are_no_probabilities_until_the_card_says_so(tmp_path: Path) -> None:
    path = save(trained(lambda: small(None)), tmp_path / "model.keras")
    with pytest.raises(DataError, match='not probabilities.*"outputs": "logits" into model.json'):
        load_classifier(path, "cpu").predict(FACES)
    path.with_suffix(".json").write_text(json.dumps({"labels": LABELS, "input_range": [0, 255], "outputs": "logits"}))
    classifier = load_classifier(path, "cpu")
    logits = classifier.call(FACES[..., None])
    expected = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(classifier.predict(FACES), expected, atol=1e-6)


def test_the_command_says_what_the_file_cannot(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    model = trained(small)
    model.save(path)
    (tmp_path / "faces").mkdir()
    for number, face in enumerate(FACES):
        Image.fromarray(face).save(tmp_path / "faces" / f"{number}.png")
    run = tmp_path / "run"
    given = ["--images", tmp_path / "faces", "--model", path, "--run", run, "--device", "cpu"]
    said = ["--labels", "angry,happy,neutral", "--input-range", "-1,1"]
    result = CliRunner().invoke(cli, ["classify", *map(str, given), *said])
    assert result.exit_code == 0, (result.output, result.exception)
    pixels = FACES[..., None].astype(np.float32) / 127.5 - 1
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels), training=False).numpy()
    table = pd.read_csv(run / "labels.csv")
    np.testing.assert_allclose(table[list(LABELS)].to_numpy(), expected, atol=1e-4)
    assert "-1" in (run / "run.json").read_text()
    for wrong in (["--labels", "angry"], ["--labels", "a,,b"], ["--input-range", "1"], ["--input-range", "2,2"]):
        result = CliRunner().invoke(cli, ["classify", *map(str, given), *wrong])
        assert isinstance(result.exception, UsageError)
        assert wrong[0] in str(result.exception)


# ---------------------------------------------------------------------------------------------------------------------
# Hostile files


@keras.saving.register_keras_serializable("mine")
class Doubled(L.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


def with_layer(layer: keras.layers.Layer) -> keras.Model:
    pixels = keras.Input((48, 48, 1))
    x = layer(pixels)
    return keras.Model(pixels, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_layers_that_are_programs_are_refused_by_name(ending: str, tmp_path: Path) -> None:
    path = save(with_layer(L.Lambda(lambda x: x / 255, name="scale")), tmp_path / f"lambda{ending}")
    with pytest.raises(DataError, match="its layer 'scale' is a Lambda: it needs Python code"):
        load_classifier(path, "cpu")
    path = save(with_layer(Doubled(name="mine")), tmp_path / f"custom{ending}")
    with pytest.raises(DataError, match="its layer 'mine' is of the class Doubled, which is none of Keras' own"):
        load_classifier(path, "cpu")


def rewritten(
    path: Path, config: Callable[[str], str], weights: Callable[[h5py.File], None] = lambda file: None
) -> None:
    """Change a ``.keras`` file in place."""
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    buffer = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        weights(file)
    parts["model.weights.h5"] = buffer.getvalue()
    parts["config.json"] = config(parts["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def test_files_that_reach_elsewhere_or_blow_up_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones((3, 3, 1, 4), np.float32)

    def link(file: h5py.File) -> None:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(secret), "/kernel")

    def external(file: h5py.File) -> None:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars"].create_dataset(
            "0", (3, 3, 1, 4), np.float32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )

    def claim(file: h5py.File) -> None:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars"].create_dataset("0", (2**16, 2**16), np.float32, chunks=True)

    def same(text: str) -> str:
        return text

    get_file = '{"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1/"}}'
    cases: list[tuple[Callable[[str], str], Callable[[h5py.File], None], str]] = [
        (same, link, "link from /layers/conv2d/vars/0"),
        (same, external, "lies in another file"),
        (same, claim, "claim to be more than"),
        (
            lambda text: text.replace('"keras.layers", "class_name": "Conv2D"', '"os", "class_name": "system"'),
            same,
            "system",
        ),
        (lambda text: text.replace('"activation": "softmax"', f'"activation": {get_file}'), same, "class get_file"),
        (lambda text: text.replace('"units": 3', '"units": 3000000000000'), same, "can be opened safely|claims"),
    ]
    for config, weights, reason in cases:
        path = save(small(), tmp_path / "model.keras")
        rewritten(path, config, weights if weights is not same else lambda file: None)
        with pytest.raises(DataError, match=reason):
            load_classifier(path, "cpu")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    for name in ("model.keras", "model.h5"):
        path = save(small(), tmp_path / name)
        whole = path.read_bytes()
        for size in (0, 7, 600, len(whole) // 2, len(whole) - 500):
            path.write_bytes(whole[:size])
            with pytest.raises(DataError, match=name):
                load_classifier(path, "cpu")
    path.write_bytes(pickle.dumps({"model": "weights"}))
    with pytest.raises(DataError, match="neither a .keras, .h5 nor .onnx"):
        load_classifier(path, "cpu")
    with h5py.File(path, "w") as file:
        file.create_group("conv2d")
    with pytest.raises(DataError, match="weights only"):
        load_classifier(path, "cpu")
