"""Networks: the same faces in, features out; saved they load safely and translate; freezing does what it says."""

from __future__ import annotations

import json
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fergan.classify.backend import keras
from fergan.classify.bundled import WEIGHTS
from fergan.classify.keras_files.keras3 import KerasFile
from fergan.classify.networks.fernet import fernet
from fergan.classify.networks.freezing import backbone_layers, set_trainable
from fergan.classify.networks.registry import ARCHITECTURES, build_model, multiply_adds
from fergan.classify.recipes import ModelSettings, load_recipe
from fergan.classify.translate.graph import translate
from fergan.runtime.errors import DataError, UsageError

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (2, 48, 48, 1)).astype(np.float32)
SMALL = ("cnn-batchnorm", "cnn-dropout25", "cnn11", "fernet-wide", "mini-xception")


def settings(name: str, **changes: object) -> ModelSettings:
    return replace(load_recipe(name).model, **{"weights": "none", **changes})


def run(network: keras.Model, faces: np.ndarray, training: bool = False) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(faces), training=training).cpu().numpy()


def with_head(network: keras.Model, classes: int = 7) -> keras.Model:
    return keras.Model(network.input, keras.layers.Dense(classes, name="expression")(network.output))


def test_the_bundled_weights_still_have_fernets_architecture() -> None:
    with zipfile.ZipFile(WEIGHTS / "fernet.keras") as archive:
        saved = json.loads(archive.read("config.json"))["config"]["layers"]
    known = {layer.name: layer for layer in fernet().layers}
    keys = ("filters", "kernel_size", "strides", "padding", "use_bias", "epsilon", "axis", "pool_size", "max_value")
    compared = 0
    for layer in saved:
        config = layer["config"]
        if config["name"] in known:
            mine = known.pop(config["name"]).get_config()
            for key in keys:
                if key in config:
                    assert json.loads(json.dumps(mine[key])) == config[key], (config["name"], key)
                    compared += 1
    assert not known
    assert compared > 100


@pytest.mark.parametrize("name", [*SMALL, "efficientnetb0", "mobilenetv2"])
def test_a_saved_network_loads_safely_and_is_translated(name: str, tmp_path: Path) -> None:
    size = 64 if name in ("efficientnetb0", "mobilenetv2") else settings(name).size
    network = with_head(build_model(settings(name, size=size)))
    assert network.input_shape == (None, 48, 48, 1)
    network.save(tmp_path / "one.keras")
    expected = run(network, FACES)
    assert expected.shape == (2, 7)
    assert np.isfinite(expected).all()
    again = keras.saving.load_model(tmp_path / "one.keras", safe_mode=True)
    assert np.array_equal(run(again, FACES), expected)
    with KerasFile((tmp_path / "one.keras").read_bytes()) as file:
        translated = translate(file, "cpu").outputs(torch.from_numpy(FACES)).numpy()
    assert np.abs(translated - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize(
    ("name", "prepare"), [("vgg16", "vgg16"), ("resnet50", "resnet50"), ("mobilenetv2", "mobilenet_v2")]
)
def test_backbones_see_what_they_were_trained_on(name: str, prepare: str) -> None:
    network = build_model(settings(name, size=48, dense=()))
    seen = keras.Model(network.input, network.get_layer("scale").output)
    expected = getattr(keras.applications, prepare).preprocess_input(np.repeat(FACES, 3, axis=3))
    assert np.allclose(run(seen, FACES), expected, atol=1e-4)


def test_multiply_adds_of_networks_counted_by_hand() -> None:
    layers = keras.layers
    inputs = keras.Input((8, 6, 4))
    x = layers.Conv2D(10, 3, strides=2, padding="same", groups=2)(inputs)  # 4 x 3 places
    x = layers.DepthwiseConv2D(3, padding="valid", depth_multiplier=2)(x)  # 2 x 1 places
    x = layers.SeparableConv2D(5, 1)(x)
    x = layers.Dense(7)(layers.Flatten()(layers.BatchNormalization()(x)))
    by_hand = 4 * 3 * (9 * 2 * 10) + 2 * (9 * 20) + 2 * (20 + 20 * 5) + 2 * 5 * 7
    assert multiply_adds(keras.Model(inputs, x)) == by_hand
    nested = keras.Model(inputs, layers.Dense(3)(keras.Model(inputs, x)(inputs)))
    assert multiply_adds(nested) == by_hand + 7 * 3


def frozen(network: keras.Model) -> list[str]:
    return [layer.name for layer in network.layers if not layer.trainable]


def test_freezing_counts_as_keras_lists_a_backbone() -> None:
    model = settings("mobilenetv2", size=48, weights="imagenet")  # the settings alone: these weights are random
    network = with_head(build_model(replace(model, weights="none", dense=(8,))))
    listed = [layer.name for layer in keras.applications.MobileNetV2(include_top=False, weights=None).layers]
    assert [layer.name for layer in backbone_layers(network)][1:] == listed[1:]
    assert model.phase_one_epochs == 2
    assert replace(model, weights="none").phase_one_epochs == 0

    set_trainable(network, model, 1)
    assert frozen(network)[1:] == listed[1:]
    assert {weight.path.split("/")[0] for weight in network.trainable_weights} == {"dense_1", "expression"}
    set_trainable(network, model, 2)
    assert frozen(network)[1:] == listed[1:30]
    set_trainable(network, replace(model, freeze_first=0, train_last=35), 2)
    assert frozen(network)[1:] == listed[1:-35]
    set_trainable(network, replace(model, freeze_first=0, freeze_matching="^block_1_", freeze_batch_norm=True), 2)
    assert set(frozen(network)) == {
        name for name in listed if name.startswith("block_1_") or name.endswith("_BN") or "bn" in name
    }
    set_trainable(network, replace(model, weights="none"), 2)
    assert not frozen(network)
    with pytest.raises(UsageError, match="has 154 layers"):
        set_trainable(network, replace(model, freeze_first=500), 2)


def test_frozen_batch_normalisation_keeps_its_averages() -> None:
    model = settings("cnn-batchnorm", weights="from.keras", freeze_first=5)
    network = build_model(replace(model, weights="none"))
    set_trainable(network, model, 2)
    first, last = network.get_layer("block1_1_bn"), network.get_layer("block3_2_bn")
    before = [layer.moving_mean.numpy().copy() for layer in (first, last)]
    network(torch.from_numpy(FACES), training=True)
    assert not first.trainable
    assert np.array_equal(first.moving_mean.numpy(), before[0])
    assert not np.array_equal(last.moving_mean.numpy(), before[1])


def test_weights_of_a_bundled_classifier() -> None:
    names = ("fernet", str(WEIGHTS / "fernet.keras"))
    named, file = (run(build_model(settings("fernet", weights=name)), FACES) for name in names)
    assert np.array_equal(named, file)


def test_weights_from_a_file(tmp_path: Path) -> None:
    model = settings("cnn-batchnorm")
    trained = build_model(model)
    with_head(trained).save(tmp_path / "whole.keras")
    keras.Model(trained.input, trained.get_layer("features").output).save_weights(tmp_path / "part.weights.h5")
    expected = run(keras.Model(trained.input, trained.get_layer("features").output), FACES)
    for file in ("whole.keras", "part.weights.h5"):
        again = build_model(replace(model, weights=str(tmp_path / file)))
        assert np.array_equal(run(keras.Model(again.input, again.get_layer("features").output), FACES), expected)
    with pytest.raises(DataError, match="no such weights file"):
        build_model(replace(model, weights="away.keras"))
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="broken.h5: is not a model that can be opened safely"):
        build_model(replace(model, weights=str(tmp_path / "broken.h5")))
    with pytest.raises(DataError, match="has no layer"):
        build_model(settings("fernet", weights=str(tmp_path / "whole.keras")))
    with h5py.File(tmp_path / "part.weights.h5", "r+") as file:
        file["elsewhere"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
    with zipfile.ZipFile(tmp_path / "whole.keras", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more", bytes(2**29))
    for file, reason in (("part.weights.h5", "link from .*elsewhere"), ("whole.keras", "unpacks to more than")):
        with pytest.raises(DataError, match=f"{file}: cannot be used: .*{reason}"):
            build_model(replace(model, weights=str(tmp_path / file)))


def test_imagenet_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline for real: the way out leads to a closed port, and Keras' folder is empty."""
    from keras.src.backend import config

    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))  # which Keras read from KERAS_HOME when it was imported
    with pytest.raises(DataError, match="--weights none trains from scratch") as caught:
        build_model(settings("mobilenetv2", size=96, weights="imagenet"))
    message = str(caught.value)
    assert str(tmp_path / "models") in message
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5" in message
    assert "\n" not in message


def test_imagenet_weights_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the layout and under the name of the published one is taken; frozen layers keep it through a step."""
    from keras.src.backend import config
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    published = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3))
    file = tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"
    file.parent.mkdir()
    with h5py.File(file, "w") as group:
        save_weights_to_hdf5_group(group, published)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    for weights in ("imagenet", str(file)):
        model = settings("mobilenetv2", size=96, weights=weights)
        network = build_model(model)
        for ours, theirs in zip(network.get_weights(), published.get_weights(), strict=True):
            assert np.array_equal(ours, theirs)

    whole = with_head(network)
    set_trainable(whole, model, 2)
    whole.compile(
        optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    whole.train_on_batch(FACES, np.array([0, 1]))
    layers = backbone_layers(network)
    changed = [
        any(not np.array_equal(a, b) for a, b in zip(layer.get_weights(), of.get_weights(), strict=True))
        for layer, of in zip(layers, published.layers, strict=True)
    ]
    assert not any(changed[: model.freeze_first])
    assert any(changed[model.freeze_first :])


def test_all_architectures_are_used() -> None:
    from fergan.classify import recipe_names

    assert {load_recipe(name).model.architecture for name in recipe_names()} == set(ARCHITECTURES)
