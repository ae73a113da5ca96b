"""Training of FER classifiers with Keras 3 on torch: fit on some rows, choose the epoch on others, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.audit.leaks import copies_in_training
from ...data.face_set import FaceSet, role
from ...runtime.claims import training_in
from ...runtime.devices import choose_device
from ...runtime.distributed import process_group, rank, world_size
from ...runtime.errors import DataError, UsageError
from ..backend import keras
from ..classifier import Classifier
from ..evaluation.scores import summary
from ..networks.freezing import set_trainable
from ..networks.registry import build_model
from ..recipes import Recipe, TrainingSettings
from ..saving import save_classifier, validation_bytes, validation_name
from .batches import Batches, validation_data
from .callbacks import EarlyStopping, MoreLogs, StartOfEpoch, Summaries
from .checkpoints import BEST_WEIGHTS, LOG, Backup, Best, load_whole, read_scores, resume
from .distributed import SameEverywhere, averaging
from .fast_layers import fast_clone
from .losses import FocalCrossEntropy, class_weights
from .optimizers import LearningRate, make_optimizer
from .record import claim_folder, data_digest, make_card

__all__ = ["predict", "train_classifier"]

PLAIN_SAMPLE = 2000
"""Training faces on which accuracy is taken after each epoch, at most; about a fiftieth of an epoch of FER2013."""


def train_classifier(
    faces: FaceSet,
    folder: str | Path,
    recipe: Recipe,
    *,
    votes: np.ndarray | None = None,
    teacher: np.ndarray | Classifier | None = None,
    device: str = "auto",
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> dict[str, Any]:
    """Fit on the training rows, keep the epoch that is best on the validation rows, and save the model.

    The same call on the same folder goes on after the last finished epoch, also after a kill.

    Args:
        faces: rows whose :func:`~fergan.data.face_set.role` is ``train``, and rows for ``validation``; all others are
            left alone.
        folder: receives ``NAME.keras``, ``NAME.json`` (labels, recipe, data, scores), ``NAME.validation.npz`` (answers
            on the validation rows), ``log.csv``, ``tensorboard/`` and what a resume needs; NAME is the recipe's.
        recipe: the network and how it is trained.
        votes: float32 [N, 10] FER+ vote shares, a row of zeros where there are none. By
            :attr:`TrainingSettings.votes_mode` they train a second head that shares the features and is dropped from
            the saved model, or are the targets themselves, for faces of
            :func:`~fergan.classify.training.batches.with_voted_labels`.
        teacher: float32 [N, K], a teacher's probabilities for the training rows (others are not read), or a classifier
            of the same labels, which then judges every batch as the student sees it; mixed into the targets by
            :attr:`TrainingSettings.teacher_weight`; not with a mode of votes that replaces the labels.
        device: ``auto``, ``cpu`` or ``cuda``.
        callbacks: further Keras callbacks, for example a progress display.

    Returns:
        The scores written to ``NAME.json``: validation accuracy, log loss, confusion matrix, epochs, seconds. Where
        torchrun started several processes, all but the first return nothing.

    Raises:
        DataError: there is nothing to train on or to validate by, or weights cannot be read.
        UsageError: the folder holds a training with other settings or other data, or the settings do not go together.
    """
    folder = Path(folder)
    settings, roles = recipe.training, role(faces.usage)
    for wanted, split in (("train", "Training"), ("validation", "PublicTest")):
        if not (roles == wanted).any():
            raise DataError(
                f"no row for {wanted} in the data ({split} in FER2013); both training and validation rows "
                "are needed; --split 80:10:10 makes them"
            )
    if teacher is not None and settings.votes_mode != "auxiliary":
        raise UsageError(f"votes_mode {settings.votes_mode} replaces the targets that a teacher is mixed into")
    head_epochs = recipe.model.phase_one_epochs
    if head_epochs >= settings.epochs:
        raise UsageError(f"{head_epochs} head_epochs leave none of {settings.epochs} epochs for the other layers")
    if settings.batch_size % world_size() or (world_size() > 1 and (roles == "train").sum() < settings.batch_size):
        raise UsageError(f"batch_size {settings.batch_size} cannot be shared by {world_size()} processes")
    with process_group(_device(device, settings)) as placed, keras.device(own := str(placed)):
        return _train(faces, folder, recipe, votes, own, callbacks, roles, teacher)


def _train(
    faces: FaceSet,
    folder: Path,
    recipe: Recipe,
    votes: np.ndarray | None,
    device: str,
    callbacks: tuple[keras.callbacks.Callback, ...],
    roles: np.ndarray,
    teacher: np.ndarray | Classifier | None = None,
) -> dict[str, Any]:
    settings = recipe.training
    fitted, judged = faces.take(roles == "train"), faces.take(roles == "validation")
    fitted_votes, judged_votes = (None if votes is None else votes[roles == part] for part in ("train", "validation"))
    keras.utils.set_random_seed(settings.seed)
    classes = len(faces.label_names)
    if classes < 2:
        raise UsageError(f"a classifier tells at least 2 classes apart, not {classes}")
    plain = build_model(recipe.model)
    second_head = votes is not None and settings.votes_mode == "auxiliary"
    network = training_network(plain, classes, second_head, settings)
    answers = teacher[roles == "train"] if isinstance(teacher, np.ndarray) else teacher
    batches = Batches(fitted, fitted_votes, settings, device, answers, folder / "teacher")
    learning_rate = LearningRate(settings, len(batches), recipe.model.phase_one_epochs, recipe.model.head_learning_rate)
    # phase 2 first: the optimizer has to know all weights that will ever learn
    set_trainable(network, recipe.model, 2)
    weights = class_weights(settings.class_weights, fitted.labels, faces.label_names)
    _compile(network, learning_rate, weights, second_head, settings)

    first, digest = rank() == 0, data_digest(faces, votes, teacher)
    with training_in(folder):  # only now, when nothing in the recipe can be wrong any more
        if first:
            claim_folder(folder, recipe, digest, faces, votes)
        sample = _plain_sample(fitted, settings.seed)
        monitor = "val_expression_accuracy" if second_head else "val_accuracy"
        done, scores = resume(folder, monitor, settings)
        files = [
            Best(folder, monitor, scores),
            keras.callbacks.CSVLogger(str(folder / LOG), append=True),
            Summaries(folder / "tensorboard", done),
            *callbacks,
        ]
        network.fit(
            batches,
            epochs=settings.epochs,
            shuffle=False,  # the batches are shuffled already, in a way that a resume can repeat
            validation_data=validation_data(judged, judged_votes, settings),
            validation_batch_size=256,
            verbose=0,
            callbacks=[
                StartOfEpoch(
                    batches, lambda phase: set_trainable(network, recipe.model, phase), recipe.model.phase_one_epochs
                ),
                *([SameEverywhere(monitor)] if world_size() > 1 else []),
                MoreLogs(lambda: _accuracy(network, sample), learning_rate, len(batches)),
                *([keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.ema > 0 else []),
                Backup(folder, done),
                EarlyStopping(scores, monitor, settings, learning_rate),
                *(files if first else []),
            ],
        )
        if not first:
            return {}
        load_whole(network, folder / BEST_WEIGHTS, "give another --out")
        return _save(_classifier_from(network, plain, classes), folder, recipe, faces, judged, digest, device, monitor)


def _save(
    classifier: keras.Model,
    folder: Path,
    recipe: Recipe,
    faces: FaceSet,
    judged: FaceSet,
    digest: str,
    device: str,
    monitor: str,
) -> dict[str, Any]:
    """Write the classifier with its card and its answers on the validation rows; return its scores."""
    probabilities = predict(classifier, judged.images)
    seconds = sum(read_scores(folder / LOG, "seconds"))
    scores = {
        "validation_split": _split_name(judged),
        **summary(probabilities, judged.labels),
        "epochs": len(read_scores(folder / LOG, monitor)),
        "seconds": round(seconds),
    }
    card = make_card(recipe, faces, digest, classifier.count_params(), scores, seconds, device)
    copies = copies_in_training(faces, role(faces.usage) == "validation")
    leaks = None if copies is None else copies[0]
    name = validation_name(judged, f"{_split_name(judged)} rows of the training's data")
    answers = validation_bytes(judged.labels, probabilities, name, leaks)
    save_classifier(classifier, folder / f"{recipe.name}.keras", card, answers)
    return scores


def predict(model: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """uint8 [N, 48, 48] -> float32 [N, K], what the model makes of them: probabilities or logits."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size]).float()[..., None]
            outputs = model(batch, training=False)
            if isinstance(outputs, dict):
                outputs = outputs["expression"]
            rows.append(outputs.float().cpu().numpy())
    return np.concatenate(rows)


def training_network(backbone: keras.Model, classes: int, second_head: bool, settings: TrainingSettings) -> keras.Model:
    """A fast copy of the backbone with dropout and one or two heads of float32 logits.

    Args:
        second_head: whether there is a head for FER+'s ten columns of votes.
        settings: its ``precision``, ``dropout`` and ``seed`` count.

    Returns:
        A model from ``pixels`` to [N, K], or to ``{"expression": [N, K], "votes": [N, 10]}``.
    """
    fast = fast_clone(backbone, settings.precision)
    features = keras.layers.Dropout(settings.dropout, seed=settings.seed, dtype="float32", name="dropout")(fast.output)
    expression = keras.layers.Dense(classes, dtype="float32", name="expression")(features)
    if not second_head:
        return keras.Model(fast.input, expression)
    votes = keras.layers.Dense(10, dtype="float32", name="votes")(features)
    return keras.Model(fast.input, {"expression": expression, "votes": votes})


def _compile(
    network: keras.Model,
    learning_rate: LearningRate,
    weights: np.ndarray | None,
    second_head: bool,
    settings: TrainingSettings,
) -> None:
    optimizer = averaging(make_optimizer(settings, learning_rate))
    optimizer.build(network.trainable_variables)
    loss = FocalCrossEntropy(settings.focal_gamma, weights)
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    if second_head:
        network.compile(
            optimizer,
            loss={"expression": loss, "votes": FocalCrossEntropy()},
            loss_weights={"expression": 1.0, "votes": settings.votes_weight},
            metrics={"expression": [accuracy]},
            auto_scale_loss=False,
        )
    else:
        network.compile(optimizer, loss=loss, metrics=[accuracy], auto_scale_loss=False)


def _classifier_from(network: keras.Model, plain: keras.Model, classes: int) -> keras.Model:
    """The saved form: stock Keras layers only, float32, one head, probabilities out.

    The head is a 1x1 convolution: unlike a matrix product its result does not depend, in the last bits, on where in
    the batch a face stands.
    """
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


def _plain_sample(fitted: FaceSet, seed: int) -> FaceSet:
    """Training faces to measure accuracy on: few enough that an epoch takes no longer for it."""
    most = min(PLAIN_SAMPLE, max(len(fitted) // 14, 256))
    rows = np.random.default_rng(seed).permutation(len(fitted))[:most]
    return fitted.take(np.sort(rows))


def _accuracy(network: keras.Model, sample: FaceSet) -> float:
    return float((predict(network, sample.images).argmax(axis=1) == sample.labels).mean())


def _split_name(judged: FaceSet) -> str:
    return " + ".join(sorted(set(judged.usage.tolist())))


def _device(device: str, settings: TrainingSettings) -> torch.device:
    chosen = choose_device(device, numbered=False)
    if settings.precision == "float16" and chosen.type == "cpu":
        raise UsageError("precision float16 is for GPUs; on a CPU give bfloat16 or float32")
    return chosen
