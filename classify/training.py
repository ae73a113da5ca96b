"""Training of FER classifiers with Keras 3 on torch: fit on one split, choose the epoch on another, resume."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..data.errors import DataError, UsageError
from ..data.fer2013 import FaceSet
from .architectures import fernet
from .augmentation import Augmentation
from .backend import keras
from .classifier import save_classifier, validation_bytes


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the outcome of a training besides the data.

    Attributes:
        epochs: passes over the training split; the cosine schedule ends with the last one.
        batch_size: faces per step.
        learning_rate: peak of the schedule (linear warm-up, then cosine to 0) for SGD with Nesterov momentum.
        warmup_epochs: length of the warm-up.
        momentum: of SGD.
        weight_decay: decoupled, applied to kernels only: each step shrinks them by ``learning_rate * weight_decay``.
        label_smoothing: share of the target spread evenly over the classes.
        dropout: on the features, before the heads.
        votes_weight: weight of the auxiliary head that predicts the FER+ votes, where votes are given.
        ema: momentum of the exponential moving average of the weights, which is what is validated and kept.
        patience: epochs without a better validation accuracy after which training stops early.
        seed: of initial weights, order and augmentation.
        augmentation: see :class:`Augmentation`.
    """

    epochs: int = 36
    batch_size: int = 128
    learning_rate: float = 0.1
    warmup_epochs: float = 2
    momentum: float = 0.9
    weight_decay: float = 5e-3
    label_smoothing: float = 0.1
    dropout: float = 0.2
    votes_weight: float = 1.0
    ema: float = 0.998
    patience: int = 15
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


def train_classifier(
    faces: FaceSet,
    folder: str | Path,
    settings: TrainingSettings | None = None,
    *,
    votes: np.ndarray | None = None,
    name: str = "fernet",
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> dict[str, Any]:
    """Fit on the Training rows, keep the epoch that is best on the PublicTest rows, and save the model.

    The same call on the same folder goes on after the last finished epoch, also after a kill.

    Args:
        faces: at least the splits ``Training`` and ``PublicTest``.
        folder: receives ``NAME.keras``, ``NAME.json`` (labels, settings, scores), ``NAME.validation.npz`` (answers on
            PublicTest), ``log.csv`` and ``tensorboard/``.
        settings: defaults to :class:`TrainingSettings`'s defaults.
        votes: float32 [N, 10] FER+ vote shares, a row of zeros where there are none; they train a second head that
            shares the features and is dropped from the saved model.
        name: of the saved model.
        callbacks: further Keras callbacks, for example a progress display.

    Returns:
        The scores written to ``NAME.json``: validation accuracy, confusion matrix, epochs, seconds.

    Raises:
        DataError: a split is empty.
        UsageError: the folder holds a training with other settings or other data.
    """
    settings = settings or TrainingSettings()
    folder = Path(folder)
    training, validation = faces.usage == "Training", faces.usage == "PublicTest"
    for rows, split in ((training, "Training"), (validation, "PublicTest")):
        if not rows.any():
            raise DataError(f"no row of split {split} in the data; both Training and PublicTest are needed")
    _claim(folder, settings, faces, votes)

    keras.utils.set_random_seed(settings.seed)
    backbone = fernet()
    classes = len(faces.label_names)
    network = _training_network(backbone, classes, votes is not None, settings)
    batches = _Batches(faces, votes, training, settings)
    _compile(network, len(batches), votes is not None, settings)

    best_weights, log = folder / "best.weights.h5", folder / "log.csv"
    started = time.time()
    monitor = "val_expression_accuracy" if votes is not None else "val_accuracy"
    network.fit(
        batches,
        epochs=settings.epochs,
        shuffle=False,  # the batches are shuffled already, in a way that a resume can repeat
        validation_data=_validation_data(faces, votes, validation),
        verbose=0,
        callbacks=[
            _SeedOfEpoch(batches),
            # before the swap, so that the backup holds the raw weights and not the average
            keras.callbacks.BackupAndRestore(str(folder / "backup"), double_checkpoint=True, delete_checkpoint=False),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.ModelCheckpoint(
                str(best_weights),
                monitor=monitor,
                mode="max",
                save_best_only=True,
                save_weights_only=True,
                initial_value_threshold=_best_so_far(log, monitor),
            ),
            keras.callbacks.EarlyStopping(monitor=monitor, mode="max", patience=settings.patience),
            keras.callbacks.CSVLogger(str(log), append=True),
            keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
            *callbacks,
        ],
    )
    seconds = time.time() - started

    network.load_weights(best_weights)
    classifier = _classifier_from(network, classes)
    probabilities = predict(classifier, faces.images[validation])
    scores = {
        "validation_split": "PublicTest",
        **evaluate(probabilities, faces.labels[validation], faces.label_names),
        "epochs": len(pd.read_csv(log)),
        "seconds": round(seconds),
    }
    save_classifier(
        classifier,
        folder / f"{name}.keras",
        {"labels": list(faces.label_names), "settings": dataclasses.asdict(settings), "scores": scores},
        validation_bytes(faces.labels[validation], probabilities, "FER2013 PublicTest"),
    )
    return scores


def predict(model: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """uint8 [N, 48, 48] -> float32 [N, K] probabilities."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size]).float()[..., None]
            rows.append(model(batch, training=False).cpu().numpy())
    return np.concatenate(rows)


def evaluate(probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, log loss and confusion matrix (rows: true class, columns: predicted class)."""
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    likelihood = probabilities[np.arange(len(labels)), labels].clip(1e-12)
    return {
        "n": len(labels),
        "accuracy": round(float((predicted == labels).mean()), 4),
        "log_loss": round(float(-np.log(likelihood).mean()), 4),
        "confusion": confusion.tolist(),
    }


class _Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches; a batch is a pure function of seed, epoch and position, so a resume repeats it."""

    def __init__(self, faces: FaceSet, votes: np.ndarray | None, rows: np.ndarray, settings: TrainingSettings) -> None:
        super().__init__()
        self.settings, self.epoch = settings, 0
        self.images = torch.from_numpy(faces.images[rows])[:, None]
        classes = len(faces.label_names)
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(faces.labels[rows]), classes).float()
        self.targets = [one_hot * (1 - settings.label_smoothing) + settings.label_smoothing / classes]
        self.has_votes = None
        if votes is not None:
            self.targets.append(torch.from_numpy(votes[rows]))
            self.has_votes = (self.targets[1].sum(dim=1) > 0).float()

    def __len__(self) -> int:
        return len(self.images) // self.settings.batch_size or 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        seed, size = self.settings.seed, self.settings.batch_size
        order = np.random.default_rng((seed, self.epoch)).permutation(len(self.images))
        rows = torch.from_numpy(order[index * size : (index + 1) * size])
        state = np.random.SeedSequence((seed, self.epoch, index)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        images, targets = self.settings.augmentation(
            self.images[rows].float(), [target[rows] for target in self.targets], generator
        )
        images = images.permute(0, 2, 3, 1)
        if self.has_votes is None:
            return images, targets[0]
        return (
            images,
            {"expression": targets[0], "votes": targets[1]},
            {"expression": torch.ones(len(rows)), "votes": self.has_votes[rows]},
        )


class _SeedOfEpoch(keras.callbacks.Callback):
    """Makes all randomness of an epoch a function of the seed and its number, so that a resume repeats it.

    Batches take the number as it is; dropout's random state, which a checkpoint does not hold, is set by it.
    """

    def __init__(self, batches: _Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.epoch = epoch
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
                layer.seed_generator.state.assign([self.batches.settings.seed, epoch * len(self.batches)])


class _FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, computed by torch's one fused kernel: a sixth less time per training step on a CPU."""

    def call(self, inputs: torch.Tensor, training: bool | None = None, mask: None = None) -> torch.Tensor:
        if inputs.ndim != 4 or self.axis not in (-1, 3):
            return super().call(inputs, training=training, mask=mask)
        outputs = torch.nn.functional.batch_norm(
            inputs.permute(0, 3, 1, 2),
            self.moving_mean.value,
            self.moving_variance.value,
            self.gamma.value if self.scale else None,
            self.beta.value if self.center else None,
            training=bool(training) and self.trainable,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
        return outputs.permute(0, 2, 3, 1)

    def compute_output_spec(self, inputs: keras.KerasTensor, **_: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def _fuse(layer: keras.layers.Layer) -> keras.layers.Layer:
    if type(layer) is keras.layers.BatchNormalization:
        return _FusedBatchNormalization.from_config(layer.get_config())
    return layer.__class__.from_config(layer.get_config())


def _training_network(backbone: keras.Model, classes: int, with_votes: bool, settings: TrainingSettings) -> keras.Model:
    """The backbone with fused batch norm, dropout and one or two heads of logits."""
    fused = keras.models.clone_model(backbone, clone_function=_fuse)
    features = keras.layers.Dropout(settings.dropout, seed=settings.seed, name="dropout")(fused.output)
    expression = keras.layers.Dense(classes, name="expression")(features)
    if not with_votes:
        return keras.Model(fused.input, expression)
    votes = keras.layers.Dense(10, name="votes")(features)
    return keras.Model(fused.input, {"expression": expression, "votes": votes})


def _compile(network: keras.Model, steps_per_epoch: int, with_votes: bool, settings: TrainingSettings) -> None:
    total, warmup = settings.epochs * steps_per_epoch, round(settings.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=max(total - warmup, 1),
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.SGD(
        schedule,
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay,
        use_ema=True,
        ema_momentum=settings.ema,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    if with_votes:
        network.compile(
            optimizer,
            loss={"expression": loss, "votes": keras.losses.CategoricalCrossentropy(from_logits=True)},
            loss_weights={"expression": 1.0, "votes": settings.votes_weight},
            metrics={"expression": [keras.metrics.CategoricalAccuracy(name="accuracy")]},
        )
    else:
        network.compile(optimizer, loss=loss, metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")])


def _validation_data(faces: FaceSet, votes: np.ndarray | None, rows: np.ndarray) -> tuple[Any, ...]:
    images = faces.images[rows][..., None].astype(np.float32)
    one_hot = np.eye(len(faces.label_names), dtype=np.float32)[faces.labels[rows]]
    if votes is None:
        return images, one_hot
    has_votes = (votes[rows].sum(axis=1) > 0).astype(np.float32)
    return (
        images,
        {"expression": one_hot, "votes": votes[rows]},
        {"expression": np.ones(len(images), np.float32), "votes": has_votes},
    )


def _classifier_from(network: keras.Model, classes: int) -> keras.Model:
    """The saved form: stock Keras layers only, one head, probabilities out.

    The head is a 1x1 convolution: unlike a matrix product its result does not depend, in the last bits, on where in
    the batch a face stands.
    """
    plain = fernet()
    by_name = {layer.name: layer for layer in network.layers}
    for layer in plain.layers:
        layer.set_weights(by_name[layer.name].get_weights())
    pooled = keras.layers.Reshape((1, 1, plain.output.shape[-1]), name="pooled")(plain.output)
    head = keras.layers.Conv2D(classes, 1, name="expression")
    logits = keras.layers.Flatten(name="logits")(head(pooled))
    kernel, bias = by_name["expression"].get_weights()
    head.set_weights([kernel[None, None], bias])
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(plain.input, probabilities, name=plain.name)


def _best_so_far(log: Path, monitor: str) -> float | None:
    """The best validation score before a stop, so that a resume does not overwrite a better epoch."""
    if not log.exists():
        return None
    scores = pd.read_csv(log).get(monitor)
    return None if scores is None or scores.empty else float(scores.max())


def _claim(folder: Path, settings: TrainingSettings, faces: FaceSet, votes: np.ndarray | None) -> None:
    """Remember in the folder what is trained there; refuse to go on with something else."""
    wanted = {
        **dataclasses.asdict(settings),
        "rows": len(faces),
        "labels": list(faces.label_names),
        "votes": votes is not None,
    }
    wanted = json.loads(json.dumps(wanted))
    path = folder / "training.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2))
        return
    found = json.loads(path.read_text())
    differing = [key for key in wanted if wanted[key] != found.get(key)]
    if differing:
        what = "; ".join(f"{key} was {found.get(key)}, is now {wanted[key]}" for key in differing)
        raise UsageError(f"{folder}: holds a training with other settings ({what}); choose another output folder")
