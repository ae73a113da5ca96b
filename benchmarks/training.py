"""Speed of StyleGAN2 training: ``python -m benchmarks.training`` prints a Markdown table.

The same training step (main and regularisation updates of both networks, DiffAugment) is taken by fergan's trainer and
by a textbook StyleGAN2 in plain torch, written below with nothing of fergan's but the augmentation: per-sample weights
in a grouped convolution, as the papers' equations have it. Steps alternate; a cycle of 16 holds one R1 update and four
path-length updates, and its mean is what counts. Medians over the cycles. ``--processes`` compares one process of two
threads with two processes of one thread each, as torchrun starts them; they take turns, cycle by cycle.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from fergan.runtime.distributed import process_group, rank, world_size
from fergan.runtime.memory import tune_malloc
from fergan.stylegan.training.diffaugment import diff_augment
from fergan.stylegan.training.loop import seeded
from fergan.stylegan.training.stylegan2 import StyleGAN2Settings, StyleGAN2Trainer, default_config
from torch import nn

FAST = StyleGAN2Settings(precision="bfloat16", pl_weight=0.0, style_mixing=0.0)
POLICY = ("color", "translation", "cutout")


def blur(x: torch.Tensor, pad: tuple[int, int], gain: float = 1.0) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device)
    kernel = (torch.outer(taps, taps) / 64 * gain).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=x.shape[1])


def lrelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x + bias[:, None, None], 0.2) * math.sqrt(2)


class Linear(nn.Module):
    def __init__(self, n: int, m: int, rate: float = 1.0, start: float = 0.0) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(m, n) / rate), nn.Parameter(torch.full([m], start / rate))
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)


class StyledConv(nn.Module):
    def __init__(self, n: int, m: int, w_dim: int, kernel: int = 3, up: bool = False, rgb: bool = False) -> None:
        super().__init__()
        self.affine, self.weight = Linear(w_dim, n, start=1.0), nn.Parameter(torch.randn(m, n, kernel, kernel))
        self.bias, self.strength = nn.Parameter(torch.zeros(m)), nn.Parameter(torch.zeros([]))
        self.up, self.rgb = up, rgb

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        n, c, height, width = x.shape
        m, _, k, _ = self.weight.shape
        weight = self.weight * self.affine(w)[:, None, :, None, None]  # [N, M, C, k, k]
        if self.rgb:
            weight = weight / math.sqrt(c)
        else:
            weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, n * c, height, width)
        if self.up:
            weight = weight.transpose(1, 2).reshape(n * c, m, k, k)
            y = blur(F.conv_transpose2d(x, weight, stride=2, groups=n).reshape(n, m, 2 * height + 1, -1), (1, 1), 4)
        else:
            y = F.conv2d(x, weight.reshape(n * m, c, k, k), padding=k // 2, groups=n).reshape(n, m, height, width)
        if self.rgb:
            return y + self.bias[:, None, None]
        return lrelu(y + self.strength * torch.randn(n, 1, *y.shape[2:], device=y.device), self.bias)


class TextbookG(nn.Module):
    def __init__(self, channels: tuple[int, ...], w_dim: int, layers: int) -> None:
        super().__init__()
        self.mapping = nn.ModuleList(Linear(w_dim, w_dim, 0.01) for _ in range(layers))
        self.const = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.convs = nn.ModuleList([StyledConv(channels[0], channels[0], w_dim)])
        for n, m in zip(channels, channels[1:], strict=False):
            self.convs += [StyledConv(n, m, w_dim, up=True), StyledConv(m, m, w_dim)]
        self.rgbs = nn.ModuleList(StyledConv(m, 3, w_dim, 1, rgb=True) for m in channels)
        self.num_ws = 2 * len(channels)

    def styles(self, z: torch.Tensor) -> torch.Tensor:
        def run(x: torch.Tensor) -> torch.Tensor:
            x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
            for layer in self.mapping:
                x = F.leaky_relu(layer(x), 0.2) * math.sqrt(2)
            return x

        place = torch.arange(self.num_ws)[None, :, None]
        cutoff = torch.randint(1, self.num_ws, (len(z), 1, 1))
        return torch.where((place < cutoff).to(z.device), run(z)[:, None], run(torch.randn_like(z))[:, None])

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        x = self.convs[0](self.const.expand(len(ws), -1, -1, -1), ws[:, 0])
        image = self.rgbs[0](x, ws[:, 1])
        for level, rgb in enumerate(list(self.rgbs)[1:]):
            first = 2 * level + 1
            x = self.convs[first + 1](self.convs[first](x, ws[:, first]), ws[:, first + 1])
            b, c, height, width = image.shape
            wide = torch.zeros(b, c, height, 2, width, 2, device=image.device)
            wide[:, :, :, 0, :, 0] = image
            image = blur(wide.reshape(b, c, 2 * height, 2 * width), (2, 1), 4) + rgb(x, ws[:, first + 2])
        return image


class EqualConv(nn.Module):
    def __init__(self, n: int, m: int, kernel: int, down: bool = False, active: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(m, n, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(m)) if active else None
        self.down = down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m, n, k, _ = self.weight.shape
        weight = self.weight / math.sqrt(n * k * k)
        if self.down:
            x = F.conv2d(blur(x, (2, 2) if k == 3 else (1, 1)), weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=k // 2)
        return x if self.bias is None else lrelu(x, self.bias)


class TextbookD(nn.Module):
    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        tops = channels[::-1]
        self.rgb = EqualConv(3, tops[0], 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList([EqualConv(n, n, 3), EqualConv(n, m, 3, down=True), EqualConv(n, m, 1, True, active=False)])
            for n, m in zip(tops, tops[1:], strict=False)
        )
        c = channels[0]
        self.conv, self.fc, self.out = EqualConv(c + 1, c, 3), Linear(16 * c, c), Linear(c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.rgb(x)
        for first, second, skip in self.blocks:
            x = (second(first(x)) + skip(x)) / math.sqrt(2)
        n, c, height, width = x.shape
        spread = (x.reshape(4, n // 4, c, height, width).var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        x = torch.cat([x, spread.repeat(4).reshape(n, 1, 1, 1).expand(n, 1, height, width)], dim=1)
        return self.out(F.leaky_relu(self.fc(self.conv(x).flatten(1)), 0.2) * math.sqrt(2))


def textbook(channels: tuple[int, ...], w_dim: int, layers: int, device: torch.device) -> Callable[..., None]:
    """A function that takes one training step on a batch."""
    G, D = TextbookG(channels, w_dim, layers).to(device), TextbookD(channels).to(device)
    rng, average = torch.Generator(), torch.zeros([], device=device)
    adams = {net: torch.optim.Adam(net.parameters(), 0.0025, (0.0, 0.99)) for net in (G, D)}

    def update(net: nn.Module, *losses: Callable[[], torch.Tensor]) -> None:
        (D if net is G else G).requires_grad_(False)
        adams[net].zero_grad(set_to_none=True)
        for loss in losses:
            loss().backward()
        adams[net].step()
        (D if net is G else G).requires_grad_(True)

    def step(reals: torch.Tensor, number: int) -> None:
        n = len(reals)

        def logits(images: torch.Tensor) -> torch.Tensor:
            return D(diff_augment(images, POLICY, rng))

        def fakes() -> torch.Tensor:
            return G(G.styles(torch.randn(n, w_dim, device=device)))

        def path_length() -> torch.Tensor:
            ws = G.styles(torch.randn(n // 2, w_dim, device=device))
            images = G(ws)
            noise = torch.randn_like(images) / images.shape[2]
            (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
            lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
            average.lerp_(lengths.mean().detach(), 0.01)
            return (lengths - average).square().mean() * 8

        def r1() -> torch.Tensor:
            x = reals.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(logits(x).sum(), x, create_graph=True)
            return gradient.square().sum(dim=(1, 2, 3)).mean() * 2.4

        update(G, lambda: F.softplus(-logits(fakes())).mean())
        if number % 4 == 0:
            update(G, path_length)
        with torch.no_grad():
            drawn = fakes()
        update(D, lambda: F.softplus(logits(drawn)).mean(), lambda: F.softplus(-logits(reals)).mean())
        if number % 16 == 0:
            update(D, r1)

    return step


def compare_options(widths: list[str], resolutions: list[int], batch: int, cycles: int) -> None:
    """Kimg an hour in float32 with path length and style mixing, and in bfloat16 without; steps alternate."""
    variants = {"before": StyleGAN2Settings(), "after": FAST}
    print("| px | width | float32, path length, mixing: kimg/hour | bfloat16, neither: kimg/hour | ratio |")
    print("|---|---|---|---|---|")
    for width in widths:
        for resolution in resolutions:
            config = default_config(resolution, 3, 0, width, half=False)
            reals = torch.rand(batch, 3, resolution, resolution) * 2 - 1
            trainers = {name: StyleGAN2Trainer(config, it, torch.device("cpu")) for name, it in variants.items()}
            seconds: dict[str, list[float]] = {name: [] for name in trainers}
            for cycle in range(cycles + 1):  # the first warms up, with one step
                totals = dict.fromkeys(trainers, 0.0)
                for _ in range(16 if cycle else 1):
                    for name, trainer in trainers.items():
                        started = time.perf_counter()
                        trainer.step(reals, None, torch.Generator())
                        totals[name] += time.perf_counter() - started
                for name, trainer in trainers.items():
                    trainer.state.steps.zero_()
                    if cycle:
                        seconds[name].append(totals[name] / 16)
            before, after = (batch * 3.6 / statistics.median(times) for times in seconds.values())
            print(f"| {resolution} | {width} | {before:.0f} | {after:.0f} | {after / before:.2f} |", flush=True)


def compare_processes(width: str, resolution: int, batch: int, cycles: int) -> None:
    """Kimg an hour of one process of two threads, and of two processes of one thread."""
    member = ["-m", "benchmarks.training", "--member", "--width", width, "--resolution", str(resolution)]
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(cycles):
        for processes, found in speeds.items():
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            done = subprocess.run(
                [sys.executable, *launcher, *member, "--batch-size", str(batch)],
                env={**os.environ, "OMP_NUM_THREADS": str(2 // processes)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found.append(float(done.stdout.split()[-1]))
    one, two = (statistics.median(found) for found in speeds.values())
    print(f"| {resolution} | {width} | {one:.0f} | {two:.0f} | {two / one:.2f} |", flush=True)


def train_as_member(width: str, resolution: int, batch: int) -> None:
    """Take 17 steps together with the other processes; the first one prints kimg an hour of the last 16."""
    with process_group(torch.device("cpu")) as device:
        config = default_config(resolution, 3, 0, width, half=False)
        trainer = seeded(0, lambda: StyleGAN2Trainer(config, FAST, device))
        reals, rng = torch.rand(batch // world_size(), 3, resolution, resolution) * 2 - 1, torch.Generator()
        trainer.step(reals, None, rng)
        trainer.state.steps.zero_()
        started = time.perf_counter()
        for _ in range(16):
            trainer.step(reals, None, rng)
        if rank() == 0:
            print(batch * 16 * 3.6 / (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--width", nargs="+", default=["tiny"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--options", action="store_true", help="Compare options of the trainer, on one thread.")
    parser.add_argument("--processes", action="store_true", help="Compare two processes with two threads.")
    parser.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    tune_malloc()
    if arguments.member:
        train_as_member(arguments.width[0], arguments.resolution[0], arguments.batch_size)
        return
    if arguments.processes:
        print("| px | width | one process, kimg/hour | two processes, kimg/hour | ratio |")
        print("|---|---|---|---|---|")
        for width in arguments.width:
            for resolution in arguments.resolution:
                compare_processes(width, resolution, arguments.batch_size, arguments.cycles)
        return
    if arguments.options:
        torch.set_num_threads(1)
        compare_options(arguments.width, arguments.resolution, arguments.batch_size, arguments.cycles)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, batch {arguments.batch_size}\n")
    print("| px | width | channels | plain torch, ms/step | fergan, ms/step | ratio | kimg/hour | s/kimg |")
    print("|---|---|---|---|---|---|---|---|")
    for width in arguments.width:
        for resolution in arguments.resolution:
            config = default_config(resolution, 3, 0, width, half=False)
            reals = torch.rand(arguments.batch_size, 3, resolution, resolution, device=device) * 2 - 1
            trainer = StyleGAN2Trainer(config, StyleGAN2Settings(), device)
            plain = textbook(config.channels, config.w_dim, config.num_mapping_layers, device)
            rng = torch.Generator()
            for number in range(2):
                plain(reals, number)
                trainer.step(reals, None, rng)
            trainer.state.steps.zero_()
            seconds: dict[str, list[float]] = {"plain": [], "fergan": []}
            for _ in range(arguments.cycles):
                totals = dict.fromkeys(seconds, 0.0)
                for number in range(16):
                    for name in seconds:
                        started = time.perf_counter()
                        plain(reals, number) if name == "plain" else trainer.step(reals, None, rng)
                        if device.type == "cuda":
                            torch.cuda.synchronize()
                        totals[name] += time.perf_counter() - started
                for name, total in totals.items():
                    seconds[name].append(total / 16)
            a, b = (statistics.median(seconds[name]) for name in ("plain", "fergan"))
            speed = arguments.batch_size / b / 1000
            print(
                f"| {resolution} | {width} | {'-'.join(map(str, config.channels))} | {a * 1000:.0f} | {b * 1000:.0f} "
                f"| {b / a:.2f} | {speed * 3600:.0f} | {1 / speed:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
