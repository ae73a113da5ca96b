"""Faces a second of a classifier on a CPU: ``python -m benchmarks.classification`` prints a Markdown table.

Three ways to run the same weights, by turns in one process, medians over the turns: Keras on torch as one would call
it; plain torch, channels-last, as one would write the network by hand, with batch normalisation as a layer of its own;
and fergan's own (``Classifier.predict``, uint8 pictures in). Networks: the bundled fernet, and a narrower one of about
30 million multiply-adds a face with random weights. The largest difference from Keras' probabilities is given too.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fergan.classify.backend import keras
from fergan.classify.bundled import WEIGHTS
from fergan.classify.classifier import load_classifier
from fergan.classify.saving import save_classifier
from torch import nn

NARROW: dict[str, Any] = {"widths": (24, 48, 88, 160), "depths": (1, 2, 2, 1), "stem": 12}


class Block(nn.Module):
    """fernet's residual block."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        # Keras pads strides of two below and right only; the odd pixel is a layer of its own here
        self.pad = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 0 if stride == 2 else 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width, 1e-5), nn.BatchNorm2d(width, 1e-5)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width, 1e-5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(self.pad(x))))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Plain(nn.Module):
    """fernet by hand: [N, 1, 48, 48] in 0..255 -> [N, K]."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], stem: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.LayerNorm((1, 48, 48), 1.0, elementwise_affine=False),
            nn.Conv2d(1, stem, 3, 1, 1, bias=False),
            nn.BatchNorm2d(stem, 1e-5),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(stem, widths[0], 3, 2, bias=False),
            nn.BatchNorm2d(widths[0], 1e-5),
            nn.ReLU(),
        ]
        before = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(Block(before, width, 2 if stage and not block else 1))
                before = width
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes), nn.Softmax(dim=1)]
        self.layers = nn.Sequential(*layers, *head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x)
        return result


def narrow(folder: Path) -> Path:
    """A fernet of about 30 MMAC with random weights, and statistics as after training, saved."""
    from fergan.classify.networks.fernet import fernet

    keras.utils.set_random_seed(0)
    backbone = fernet(**NARROW)
    rng = np.random.default_rng(0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    outputs = keras.layers.Dense(7, activation="softmax")(backbone.output)
    path = folder / "narrow.keras"
    save_classifier(keras.Model(backbone.input, outputs), path, {"labels": [str(i) for i in range(7)]})
    return path


def plain_torch(model: keras.Model, settings: dict[str, Any]) -> Plain:
    """The same weights in :class:`Plain`: both define their layers in one order, but for the shortcuts."""
    network = Plain(**settings, classes=model.output_shape[-1]).eval()
    layers = {layer.name: layer for layer in model.layers}

    def put(conv: nn.Module, bn: nn.Module, name: str) -> None:
        kernel = np.asarray(layers[f"{name}_conv" if f"{name}_conv" in layers else name].get_weights()[0])
        gamma, beta, mean, variance = layers[f"{name}_bn"].get_weights()
        values = {conv.weight: kernel.transpose(3, 2, 0, 1), bn.weight: gamma, bn.bias: beta}
        for parameter, value in (*values.items(), (bn.running_mean, mean), (bn.running_var, variance)):
            parameter.data.copy_(torch.from_numpy(np.array(value)))

    put(network.layers[1], network.layers[2], "stem1")
    put(network.layers[5], network.layers[6], "stem2")
    blocks = iter(layer for layer in network.layers if isinstance(layer, Block))
    for stage, depth in enumerate(settings["depths"], start=1):
        for number in range(1, depth + 1):
            block, name = next(blocks), f"stage{stage}_block{number}"
            put(block.conv1, block.bn1, f"{name}_1")
            put(block.conv2, block.bn2, f"{name}_2")
            if isinstance(block.shortcut, nn.Sequential):
                put(block.shortcut[1], block.shortcut[2], f"{name}_project")
    head = [layer for layer in model.layers if layer.weights][-1]
    kernel, bias = head.get_weights()
    network.layers[-2].weight.data.copy_(torch.from_numpy(kernel.reshape(-1, len(bias)).T.copy()))
    network.layers[-2].bias.data.copy_(torch.from_numpy(bias))
    return network.to(memory_format=torch.channels_last)


def multiply_adds(model: keras.Model) -> float:
    """Multiply-adds for one face, in millions: convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))
    return total / 1e6


def batched(run: Callable[[torch.Tensor], torch.Tensor], size: int, nchw: bool) -> Callable[[np.ndarray], np.ndarray]:
    def predict(faces: np.ndarray) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(faces), size):
                batch = torch.from_numpy(faces[start : start + size]).float()
                batch = batch[:, None].to(memory_format=torch.channels_last) if nchw else batch[..., None]
                rows.append(run(batch).numpy())
        return np.concatenate(rows)

    return predict


def measure(ways: dict[str, Callable[[np.ndarray], np.ndarray]], faces: np.ndarray, turns: int) -> dict[str, float]:
    """Median faces a second of each way; the first turn warms up and does not count."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, predict in ways.items():
            started = time.perf_counter()
            predict(faces)
            if turn:
                speeds[name].append(len(faces) / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in speeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=1024, help="faces a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64, help="of Keras and plain torch")
    options = parser.parse_args()
    faces = np.random.default_rng(0).integers(0, 256, (options.n, 48, 48), dtype=np.uint8)
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {threads} threads; torch {torch.__version__}, Keras {keras.__version__}")
    print("\n| network | MMAC | Keras on torch | plain torch | fergan | engine | from Keras at most |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bundled: dict[str, Any] = {"widths": (32, 64, 128, 256), "depths": (1, 2, 2, 1), "stem": 16}
        for path, settings in ((WEIGHTS / "fernet.keras", bundled), (narrow(Path(folder)), NARROW)):
            model = keras.saving.load_model(path, compile=False)
            classifier = load_classifier(path, device="cpu")
            size = options.batch_size
            ways = {
                "keras": batched(lambda batch, model=model: model(batch, training=False), size, nchw=False),
                "plain": batched(plain_torch(model, settings), size, nchw=True),
                "ours": classifier.predict,
            }
            expected = ways["keras"](faces)
            assert np.abs(ways["plain"](faces) - expected).max() < 1e-4, "the three are not one network"
            difference = np.abs(classifier.predict(faces) - expected).max()
            speed = measure(ways, faces, options.turns)
            print(
                f"| {path.stem} | {multiply_adds(model):.1f} | {speed['keras']:.0f} | {speed['plain']:.0f} "
                f"| **{speed['ours']:.0f}** | {classifier.engine} | {difference:.1e} |"
            )
    print("\nFaces a second, 48x48 gray.")


if __name__ == "__main__":
    main()
