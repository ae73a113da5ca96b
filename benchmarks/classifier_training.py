"""Faces a second of a classifier's training on a CPU: ``python -m benchmarks.classifier_training`` prints a table.

fernet with the same initial weights, on the same batches: by fergan's trainer (``fit`` with all that a step of
``fergan train classifier`` does), by Keras' stock layers and ``fit``, and by the same network written in plain torch,
channels-last, with torch's SGD, averaging of weights and autocast. By turns, medians over the turns. Before the times,
the losses of the first step are compared: it is one network. The share of augmentation is measured by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fergan.classify.backend import keras
from fergan.classify.networks.registry import build_model
from fergan.classify.recipes import TrainingSettings, load_recipe
from fergan.classify.training.batches import Batches
from fergan.classify.training.optimizers import LearningRate
from fergan.classify.training.train import _compile, training_network
from fergan.data.face_set import FaceSet
from fergan.data.labels import FER2013
from fergan.runtime.memory import tune_malloc
from torch import nn

from benchmarks.classification import plain_torch

Batch = tuple[torch.Tensor, torch.Tensor]
Run = Callable[[Sequence[Batch]], float]
"""Trains on batches, one step each, and returns the mean loss."""


class _Ready(keras.utils.PyDataset):
    """Batches that are made already."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index]


def fit(network: keras.Model) -> Run:
    def run(batches: Sequence[Batch]) -> float:
        return float(network.fit(_Ready(batches), shuffle=False, verbose=0).history["loss"][0])

    return run


def ours(model: keras.Model, head: list[np.ndarray], settings: TrainingSettings) -> Run:
    """The trainer's network, loss and optimizer."""
    network = training_network(model, len(FER2013), False, settings)
    network.get_layer("expression").set_weights(head)
    _compile(network, LearningRate(settings, 1000), None, False, settings)
    return fit(network)


def stock(model: keras.Model, head: list[np.ndarray], settings: TrainingSettings) -> Run:
    """The training that one would write with Keras alone."""
    policy = "float32" if settings.precision == "float32" else f"mixed_{settings.precision}"

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    clone = keras.models.clone_model(model, clone_function=copy)
    clone.set_weights(model.get_weights())
    last = keras.layers.Dense(len(FER2013), dtype="float32")
    network = keras.Model(clone.input, last(clone.output))
    last.set_weights(head)
    optimizer = keras.optimizers.SGD(
        0.1, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay, use_ema=True, ema_momentum=settings.ema
    )
    network.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return fit(network)


def plain(model: keras.Model, head: list[np.ndarray], settings: TrainingSettings, options: dict[str, Any]) -> Run:
    """The same by hand in torch, as lean as it gets: no metrics but the loss."""
    last = keras.layers.Dense(len(FER2013))
    whole = keras.Model(model.input, last(model.output))
    last.set_weights(head)
    network = plain_torch(whole, options).train()
    network.layers[-1] = nn.Identity()  # softmax is in the loss
    kernels = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": settings.weight_decay}, {"params": others}],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        foreach=True,
    )
    weights = list(network.parameters())
    averages = [weight.detach().clone() for weight in weights]

    def run(batches: Sequence[Batch]) -> float:
        total = 0.0
        for images, targets in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
                logits = network(images.permute(0, 3, 1, 2))
            loss = nn.functional.cross_entropy(logits.float(), targets)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1 - settings.ema)
            total += float(loss.detach())
        return total / len(batches)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="a turn")
    parser.add_argument("--stock", action="store_true", help="Keras' stock layers too")
    options = parser.parse_args()
    tune_malloc()
    recipe = load_recipe("fernet")
    # without dropout, so that the first losses can be compared
    training = dataclasses.replace(recipe.training, dropout=0.0)
    size, rng = training.batch_size, np.random.default_rng(0)
    n = options.steps * size
    faces = FaceSet(
        rng.integers(0, 256, (n, 48, 48), dtype=np.uint8), rng.integers(0, 7, n), np.full(n, "Training"), FER2013
    )
    batches = Batches(faces, None, training)
    data = [batches[index] for index in range(len(batches))]
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads; torch {torch.__version__}, Keras {keras.__version__}"
    )
    print(f"\nfernet, batches of {size}, faces a second:\n")
    print("| precision | plain torch | fergan | Keras' own layers | time, fergan / plain | augmentation's share |")
    print("|---|---|---|---|---|---|")
    for precision in ("float32", "bfloat16"):
        settings = dataclasses.replace(training, precision=precision)
        keras.utils.set_random_seed(0)
        model = build_model(recipe.model)
        head = [rng.normal(0, 0.05, (model.output.shape[-1], 7)), np.zeros(7)]
        runs: dict[str, Run] = {
            "plain": plain(model, head, settings, dict(recipe.model.options)),
            "ours": ours(model, head, settings),
        }
        if options.stock:
            runs["keras"] = stock(model, head, settings)
        first = {name: run(data[:1]) for name, run in runs.items()}  # warms up, too
        difference = max(first.values()) - min(first.values())
        assert difference < (1e-3 if precision == "float32" else 2e-2), f"these are not one network: {first}"
        runs["augmentation"] = lambda given: float(len([batches[index] for index in range(len(given))]))
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.turns):
            for name, run in runs.items():
                started = time.perf_counter()
                run(data)
                times[name].append((time.perf_counter() - started) / len(data))
        median = {name: statistics.median(values) for name, values in times.items()}
        rate = {name: f"{size / value:.0f}" for name, value in median.items()}
        share = median["augmentation"] / (median["augmentation"] + median["ours"])
        print(
            f"| {precision} | {rate['plain']} | **{rate['ours']}** | {rate.get('keras', '–')} "
            f"| {median['ours'] / median['plain']:.2f} | {share:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
