"""Faces a second of the recipes' networks and the bundled classifiers: ``python -m benchmarks.recipes``.

All by turns in one process, on one thread, medians over the turns; the recipes' networks have random weights, on which
no speed depends. They are judged as fergan judges (``Classifier.predict``, uint8 [N, 48, 48] in).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fergan.classify.backend import keras
from fergan.classify.bundled import bundled_classifiers
from fergan.classify.classifier import Classifier, load_classifier
from fergan.classify.networks.registry import build_model
from fergan.classify.recipes import load_recipe
from fergan.classify.saving import save_classifier

from .classification import measure

RECIPES = (
    "fernet-wide",
    "fernet-deep",
    "mini-xception",
    "cnn-dropout50",
    "cnn-batchnorm",
    "cnn11",
    "efficientnet-lite0",
    "inceptionv3",
)


def untrained(recipe: str, folder: Path) -> Classifier:
    """The network of a recipe with random weights."""
    network = build_model(replace(load_recipe(recipe).model, weights="none"))
    outputs = keras.layers.Dense(7, activation="softmax", name="expression")(network.output)
    path = folder / f"{recipe}.keras"
    save_classifier(keras.Model(network.input, outputs), path, {"labels": list("abcdefg"), "input_range": [0, 255]})
    return load_classifier(path, device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=256, help="faces a turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--model", action="append", default=[], help="another model file; repeatable")
    options = parser.parse_args()
    torch.set_num_threads(1)
    faces = np.random.default_rng(0).integers(0, 256, (options.n, 48, 48), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        judges = {name: load_classifier(name, device="cpu") for name in [*bundled_classifiers(), *options.model]}
        judges |= {name: untrained(name, Path(folder)) for name in RECIPES}
        speeds = measure({name: judge.predict for name, judge in judges.items()}, faces, options.turns)
    print("| network | faces/s | of fernet's |\n|---|---:|---:|")
    for name, speed in sorted(speeds.items(), key=lambda item: -item[1]):
        print(f"| `{name}` | {speed:.0f} | {speed / speeds['fernet']:.2f} |")


if __name__ == "__main__":
    main()
