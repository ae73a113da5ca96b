"""Training learns, resumes where it stopped, and every setting does what it says."""

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fergan.classify import load_classifier
from fergan.classify.backend import keras
from fergan.classify.evaluation.scores import summary
from fergan.classify.networks.registry import build_model
from fergan.classify.recipes import Augmentation, ModelSettings, Recipe, TrainingSettings
from fergan.classify.training.batches import Batches, with_voted_labels
from fergan.classify.training.callbacks import EarlyStopping
from fergan.classify.training.checkpoints import read_scores
from fergan.classify.training.fast_layers import fast_clone
from fergan.classify.training.optimizers import LearningRate, make_optimizer
from fergan.classify.training.train import predict, train_classifier
from fergan.data.face_set import FaceSet
from fergan.data.labels import FERPLUS
from fergan.data.readers.ferplus import ferplus_targets
from fergan.runtime.errors import DataError, UsageError

LABELS = ("down", "up")
TINY = ModelSettings("fernet", options={"widths": [8, 16], "depths": [1, 1], "stem": 4})


def striped_faces(n: int, seed: int = 0) -> FaceSet:
    """Noise with a bright upper or lower half: learnable within a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 120, (n, 48, 48))
    images[labels == 1, :24] += 100
    images[labels == 0, 24:] += 100
    usage = np.where(np.arange(n) < n * 2 // 3, "Training", "PublicTest")
    return FaceSet(images.astype(np.uint8), labels, usage, LABELS)


def recipe(model: ModelSettings = TINY, **changes: object) -> Recipe:
    return Recipe("tiny", "Tiny", "tests", model, dataclasses.replace(SETTINGS, **changes))


class StopAfter(keras.callbacks.Callback):
    """Dies in the middle of an epoch, as a killed process does: nothing after it is run."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if self.epoch == 0:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.epoch -= 1


SETTINGS = TrainingSettings(
    epochs=6,
    batch_size=8,
    learning_rate=0.05,
    warmup_epochs=0,
    ema=0.5,
    augmentation=Augmentation(shift=0.03, erase=0.1),
)
FACES = striped_faces(240)
JUDGED = FACES.split("PublicTest")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("straight")
    return folder, train_classifier(FACES, folder, recipe())


def test_it_learns_and_the_saved_model_scores_the_same(trained: tuple[Path, dict]) -> None:
    folder, scores = trained
    assert scores["accuracy"] >= 0.9
    classifier = load_classifier(folder / "tiny.keras")
    assert classifier.labels == LABELS
    again = summary(classifier.predict(JUDGED.images), JUDGED.labels)
    assert again["accuracy"] == scores["accuracy"]
    assert again["confusion"] == scores["confusion"]
    model = keras.saving.load_model(folder / "tiny.keras", compile=False, safe_mode=True)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard" / "validation")).Reload()
    log = pd.read_csv(folder / "log.csv")
    assert [(event.step, round(event.value, 4)) for event in board.Scalars("epoch/accuracy")] == [
        (epoch + 1, round(value, 4)) for epoch, value in zip(log.epoch, log.val_accuracy, strict=True)
    ]


def test_log_and_card_say_what_happened(trained: tuple[Path, dict]) -> None:
    folder, scores = trained
    log = pd.read_csv(folder / "log.csv")
    assert len(log) == scores["epochs"] == 6
    assert {"accuracy", "val_accuracy", "train_accuracy_plain", "learning_rate", "seconds", "loss"} <= set(log)
    best = log["val_accuracy"].idxmax()
    assert round(log["val_accuracy"][best], 4) == scores["accuracy"]
    assert log["train_accuracy_plain"][best] >= 0.9
    card = json.loads((folder / "tiny.json").read_text())
    assert card["settings"] == json.loads(json.dumps(dataclasses.asdict(recipe().training)))
    assert card["model"]["options"] == TINY.options and len(card["data"]["sha256"]) == 64
    assert card["short_run"] is False  # a recipe of one's own has as many epochs as it says
    assert sum(card["data"]["faces"]["Training"].values()) == 160
    assert card["hours"] == round(log["seconds"].sum() / 3600, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"patience": 3},
        {"optimizer": "adamw", "learning_rate": 2e-3, "schedule": "plateau", "decay_epochs": 1, "l1": 1e-5},
    ],
    ids=["sgd-cosine", "adamw-plateau"],
)
def test_a_stopped_training_ends_like_one_that_was_not(changes: dict, tmp_path: Path) -> None:
    wanted = recipe(TINY, epochs=4, batch_size=16, **changes)
    train_classifier(FACES, tmp_path / "straight", wanted)
    for stop in (2, 1):  # twice, so that a resume is itself resumed
        with pytest.raises(KeyboardInterrupt):
            train_classifier(FACES, tmp_path / "stopped", wanted, callbacks=(StopAfter(stop),))
    train_classifier(FACES, tmp_path / "stopped", wanted)
    straight, resumed = (load_classifier(tmp_path / name / "tiny.keras") for name in ("straight", "stopped"))
    assert np.array_equal(straight.predict(FACES.images), resumed.predict(FACES.images))
    logs = [pd.read_csv(tmp_path / name / "log.csv").drop(columns="seconds") for name in ("straight", "stopped")]
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    if "schedule" in changes:
        assert logs[0]["learning_rate"].nunique() > 1  # the plateau was met, so its state had to survive


def test_a_training_killed_at_each_of_its_files_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies at one file after another, before it gets its name, and torn, or just after."""
    wanted, replace, left, before = recipe(epochs=3), os.replace, 0, False
    scores = train_classifier(FACES, tmp_path / "straight", wanted)

    class Killed(BaseException):
        pass

    def dies(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0 and before:
            Path(source).write_bytes(Path(source).read_bytes()[:100])
            raise Killed
        replace(source, target)
        if left < 0:
            raise Killed

    monkeypatch.setattr(os, "replace", dies)
    for kills in range(100):
        left, before = kills // 2, bool(kills % 2)
        try:
            train_classifier(FACES, tmp_path / "killed", wanted)
            break
        except Killed:
            pass
    assert kills > 5
    places = tmp_path / "straight", tmp_path / "killed"
    logs = [pd.read_csv(place / "log.csv").drop(columns="seconds") for place in places]
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    models = [load_classifier(place / "tiny.keras") for place in places]
    assert np.array_equal(*(model.predict(FACES.images) for model in models))
    assert json.loads((places[1] / "tiny.json").read_text())["scores"]["epochs"] == scores["epochs"]


def test_damaged_states_are_one_line(tmp_path: Path) -> None:
    wanted = recipe(epochs=3)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(FACES, tmp_path, wanted, callbacks=(StopAfter(2),))
    (state,) = (tmp_path / "backup").glob("[0-9]*")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(DataError, match=f"{state.name}: cannot be read .*; delete it to begin this training again"):
        train_classifier(FACES, tmp_path, wanted)
    state.unlink()
    train_classifier(FACES, tmp_path, wanted)
    assert pd.read_csv(tmp_path / "log.csv").epoch.tolist() == [0, 1, 2]
    (tmp_path / "backup" / "latest.weights.h5").touch()
    with pytest.raises(DataError, match="older fergan"):
        train_classifier(FACES, tmp_path, wanted)


def test_other_settings_or_data_are_refused(trained: tuple[Path, dict], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epochs was 6, is now 4"):
        train_classifier(FACES, trained[0], recipe(epochs=4))
    flipped = dataclasses.replace(FACES, labels=1 - FACES.labels)
    with pytest.raises(UsageError, match="data was"):
        train_classifier(flipped, trained[0], recipe())
    with pytest.raises(DataError, match="validation"):
        train_classifier(FACES.split("Training"), tmp_path, recipe())
    with pytest.raises(UsageError, match="head_epochs"):
        phased = dataclasses.replace(TINY, weights=str(trained[0] / "tiny.keras"), head_epochs=6)
        train_classifier(FACES, tmp_path, recipe(phased))
    for bad in ({"optimizer": "lion"}, {"ema": 1.0}, {"l2": -1.0}, {"schedule": "wave"}, {"learning_rate": 0.0}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            recipe(**bad)


def test_fast_layers_are_the_stock_layers() -> None:
    """Outputs, gradients and batch statistics, for all padding and strides that the networks have."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    pixels = keras.Input((15, 15, 3), name="pixels")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu")(pixels)
    x = layers.BatchNormalization()(x)
    y = layers.Conv2D(8, 3, padding="same", groups=2, dilation_rate=2, use_bias=False)(x)
    y = layers.AveragePooling2D(2, padding="same")(y)
    x = layers.Add()([y, layers.AveragePooling2D(2)(x)])
    x = layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.Conv2D(4, 4, padding="same")(x))
    model = keras.Model(pixels, layers.Flatten()(x))
    fast = fast_clone(model)
    assert {type(layer).__module__ for layer in fast.layers} > {"fergan.classify.training.fast_layers"}
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 15, 15, 3)).astype(np.float32))
    for training in (True, False):
        results = []
        for one in (model, fast):
            one.zero_grad()
            outputs = one(batch, training=training)
            (outputs**2).sum().backward()
            results.append([outputs.detach(), *(weight.value.grad for weight in one.trainable_weights)])
        for stock, ours in zip(*results, strict=True):
            torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)
    variance = 4 * 8 * 8 / (4 * 8 * 8 - 1)  # torch keeps the unbiased estimate, Keras the biased
    for stock, ours in zip(model.non_trainable_weights, fast.non_trainable_weights, strict=True):
        torch.testing.assert_close(ours.value, stock.value, rtol=variance - 1, atol=1e-4)


def test_a_strided_shortcut_has_its_gradient() -> None:
    """torch 2.14 writes beyond its memory in the gradient of this convolution, if it is given the stride."""
    pixels = keras.Input((60, 60, 8))
    shortcut = keras.layers.Conv2D(16, 1, 2, padding="same", use_bias=False)
    fast = fast_clone(keras.Model(pixels, shortcut(pixels)))
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(16, 60, 60, 8)).astype(np.float32))
    (kernel,) = (weight.value for weight in fast.trainable_weights)
    for _ in range(5):
        fast.zero_grad()
        outputs = fast(batch, training=True)
        outputs.sum().backward()
    seen = batch[:, ::2, ::2]
    torch.testing.assert_close(outputs, seen @ kernel[0, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kernel.grad[0, 0, :, 3], seen.sum((0, 1, 2)), rtol=1e-3, atol=1e-2)


def test_precision_is_that_of_products_alone() -> None:
    model = build_model(TINY)
    fast = fast_clone(model, "bfloat16")
    kinds = {layer.name: layer.compute_dtype for layer in fast.layers}
    assert kinds["stem1_conv"] == "bfloat16" and kinds["standardize"] == "float32"
    assert {weight.dtype for weight in fast.weights} == {"float32"}
    exact, rounded = predict(model, JUDGED.images[:8]), predict(fast, JUDGED.images[:8])
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, rtol=0.05, atol=0.03 * np.abs(exact).max())


def test_training_in_bfloat16_learns(tmp_path: Path) -> None:
    changed = recipe(precision="bfloat16", ema=0.0, class_weights="balanced", focal_gamma=1.0, clip_norm=5.0)
    assert train_classifier(FACES, tmp_path, changed)["accuracy"] >= 0.9
    with pytest.raises(UsageError, match="GPU"):
        train_classifier(FACES, tmp_path / "half", recipe(precision="float16"), device="cpu")


def rates(epochs: float, **changes: object) -> list[float]:
    schedule = LearningRate(dataclasses.replace(SETTINGS, learning_rate=1.0, **changes), steps=10)
    return [schedule(step) for step in range(0, round(10 * epochs), 5)]


def test_schedules() -> None:
    assert rates(2, schedule="constant", warmup_epochs=1) == [0, 0.5, 1, 1]
    assert np.allclose(rates(6), [0.5 * (1 + np.cos(np.pi * at / 12)) for at in range(12)])
    assert rates(3, schedule="step", decay=0.1, decay_epochs=1) == [1, 1, 0.1, 0.1, 0.1**2, 0.1**2]
    head = LearningRate(SETTINGS, 10, head_epochs=2, head_learning_rate=0.5)
    assert [head(0), head(19), head(20)] == [0.5, 0.5, SETTINGS.learning_rate]


def test_plateau_and_early_stopping_count_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("epoch,val_accuracy\n" + "".join(f"{n},{v}\n" for n, v in enumerate([0.5, 0.6, 0.6, 0.55, 0.6])))
    settings = dataclasses.replace(SETTINGS, epochs=20, schedule="plateau", decay=0.1, decay_epochs=2, patience=5)
    rate = LearningRate(settings, 10)
    progress = EarlyStopping(read_scores(log, "val_accuracy"), "val_accuracy", settings, rate)
    assert rate.scale == pytest.approx(0.1)  # after two epochs that were no better; a third has begun to count
    model = type("Model", (), {"stop_training": False})()
    progress.set_model(model)
    progress.on_epoch_end(5, {"val_accuracy": 0.2})
    assert rate.scale == pytest.approx(0.01) and not model.stop_training
    progress.on_epoch_end(6, {"val_accuracy": 0.2})
    assert model.stop_training  # 5 epochs after the first 0.6


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_optimizers_are_keras_with_elastic_net_and_average(name: str) -> None:
    """Against Keras' own optimizer with its kernel regularizer and its weight-by-weight moving average."""
    settings = TrainingSettings(
        optimizer=name,
        learning_rate=0.02,
        schedule="constant",
        warmup_epochs=0,
        weight_decay=0.1,
        l1=0.01,
        l2=0.02,
        clip_norm=0.5,
        ema=0.9,
    )
    common = {"weight_decay": 0.1, "global_clipnorm": 0.5, "use_ema": True, "ema_momentum": 0.9}
    own = {
        "sgd": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True, **common),
        "adam": lambda: keras.optimizers.Adam(0.02, **common),
        "adamw": lambda: keras.optimizers.AdamW(0.02, **common),
        "rmsprop": lambda: keras.optimizers.RMSprop(0.02, momentum=0.9, **common),
    }[name]()
    own.exclude_from_weight_decay(var_names=["bias"])
    results = []
    for optimizer, regularizer in (
        (own, keras.regularizers.L1L2(0.01, 0.02)),
        (make_optimizer(settings, LearningRate(settings, 10)), None),
    ):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(3, kernel_regularizer=regularizer)(inputs))
        model.compile(optimizer, "mse")
        x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
        for step in range(4):
            if optimizer is own:
                own.ema_momentum = min(0.9, (1 + step) / (10 + step))
            model.train_on_batch(x, x[:, :3])
        averages = [average.numpy() for average in optimizer._model_variables_moving_average]
        results.append([*model.get_weights(), *averages])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_first_phase_leaves_all_but_the_head_alone(trained: tuple[Path, dict], tmp_path: Path) -> None:
    start = trained[0] / "tiny.keras"
    phased = dataclasses.replace(TINY, weights=str(start), head_epochs=2, dense=(8,), freeze_matching="^stem")
    seen: list[dict[str, np.ndarray]] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            seen.append({layer.name: layer.get_weights() for layer in self.model.layers if layer.get_weights()})

    train_classifier(FACES, tmp_path, recipe(phased, epochs=3, ema=0.0), callbacks=(Watch(),))
    begin = {layer.name: layer.get_weights() for layer in build_model(phased).layers if layer.get_weights()}

    def same(one: dict, other: dict) -> set[str]:
        return {name for name in one if all(map(np.array_equal, one[name], other[name]))}

    backbone = set(begin) - {"dense_1"}
    assert same({name: begin[name] for name in backbone}, seen[1]) == backbone  # batch statistics too
    assert not same(seen[0], seen[1]) & {"dense_1", "expression"}
    assert same({name: begin[name] for name in backbone}, seen[2]) == {n for n in backbone if n.startswith("stem")}
    assert pd.read_csv(tmp_path / "log.csv")["learning_rate"][:2].tolist() == [phased.head_learning_rate] * 2


def voted_faces() -> tuple[FaceSet, np.ndarray]:
    """Votes: clear happy, clear neutral, split between sad and fear (no majority), not a face."""
    counts = np.zeros((8, 10), dtype=np.float32)
    counts[[0, 4], 1] = 10
    counts[[1, 5], 0] = 9
    counts[[2, 6], 3] = counts[[2, 6], 6] = 5
    counts[[3, 7], 9] = 10
    usage = np.array(["Training"] * 4 + ["PublicTest"] * 4)
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    return FaceSet(images, np.zeros(8, np.int64), usage, LABELS), counts / 10


def test_votes_can_be_the_labels() -> None:
    faces, votes = voted_faces()
    soft, its_votes = with_voted_labels(faces, votes, "crossentropy")
    assert soft.label_names == FERPLUS and soft.usage.tolist() == ["Training"] * 3 + ["PublicTest"] * 2
    assert soft.label_texts()[[0, 1, 3, 4]].tolist() == ["happy", "neutral", "happy", "neutral"]
    settings = dataclasses.replace(SETTINGS, label_smoothing=0.0, votes_mode="crossentropy", batch_size=3)
    rows = soft.usage == "Training"
    batches = Batches(soft.take(rows), its_votes[rows], settings)
    _, targets = batches[0]
    expected, _ = ferplus_targets(its_votes[rows], "crossentropy")
    assert np.allclose(targets.numpy(), expected[batches.order.numpy()])
    assert np.allclose(np.sort(expected[2])[-2:], 0.5)

    drawn = Batches(soft.take(rows), its_votes[rows], dataclasses.replace(settings, votes_mode="probability"))
    seen = set()
    for epoch in range(12):
        drawn.start_epoch(epoch)
        targets = drawn[0][1].numpy()
        assert set(targets.ravel().tolist()) == {0.0, 1.0}
        seen.add(FERPLUS[targets[drawn.order.numpy() == 2].argmax()])
    assert seen == {"sad", "fear"}
    with pytest.raises(DataError, match="FER"):
        Batches(faces, votes, settings)


def test_votes_train_a_second_head_that_is_not_saved(tmp_path: Path) -> None:
    votes = np.zeros((len(FACES), 10), np.float32)
    votes[np.arange(200), FACES.labels[:200]] = 1  # the last 40 rows have none
    scores = train_classifier(FACES, tmp_path, recipe(epochs=4), votes=votes)
    assert load_classifier(tmp_path / "tiny.keras").predict(JUDGED.images[:2]).shape == (2, 2)
    assert scores["accuracy"] >= 0.8
    assert "val_expression_accuracy" in pd.read_csv(tmp_path / "log.csv")


SECOND = """
import pickle, sys
from pathlib import Path
import numpy as np
from fergan.classify.training.train import train_classifier
from fergan.data.face_set import FaceSet
folder = Path(sys.argv[1])
held = np.load(folder / "faces.npz")
faces = FaceSet(held["images"], held["labels"], held["usage"], ("down", "up"))
recipe = pickle.loads((folder / "recipe.pickle").read_bytes())
assert train_classifier(faces, folder / "two", recipe, device="cpu") == {}
"""


def test_two_processes_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without randomness and batch statistics, sharing batches changes nothing but the order of sums."""
    off = Augmentation(flip=0, rotation=0, shift=0, zoom=0, erase=0)
    plain = ModelSettings("plain_cnn", options={"widths": [4, 8, 8], "convolutions": 1})
    wanted = recipe(plain, epochs=2, dropout=0.0, learning_rate=0.01, clip_norm=1.0, augmentation=off)
    train_classifier(FACES, tmp_path / "one", wanted)
    np.savez(tmp_path / "faces.npz", images=FACES.images, labels=FACES.labels, usage=FACES.usage)
    (tmp_path / "recipe.pickle").write_bytes(pickle.dumps(wanted))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    second = {**os.environ, **shared, "RANK": "1", "LOCAL_RANK": "1"}
    other = subprocess.Popen(
        [sys.executable, "-c", SECOND, str(tmp_path)], env=second, stderr=subprocess.PIPE, text=True
    )
    for name, value in {**shared, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert train_classifier(FACES, tmp_path / "two", wanted, device="cpu")
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    monkeypatch.undo()
    one, two = (load_classifier(tmp_path / name / "tiny.keras") for name in ("one", "two"))
    np.testing.assert_allclose(two.predict(JUDGED.images), one.predict(JUDGED.images), atol=2e-5)
    logs = [pd.read_csv(tmp_path / name / "log.csv") for name in ("one", "two")]
    assert len(logs[1]) == 2
    np.testing.assert_allclose(logs[1]["val_loss"], logs[0]["val_loss"], rtol=1e-4)
    assert not np.allclose(logs[0]["val_loss"][0], logs[0]["val_loss"][1], rtol=1e-3)  # something was learnt
