"""Speed of StyleGAN2 synthesis on a CPU: ``python -m benchmarks.synthesis`` prints a Markdown table.

The reference (plain PyTorch, ``FERGAN_OPS=reference``) and the fast path draw faces of one random network, each once
with the malloc of the system as it is and once tuned as fergan's commands do it. Every one of the four is a process of
its own that waits for its turn, so that runs alternate and memory is its own; columns give medians over the turns.

GFLOP/s counts the operations of the networks as the paper writes them (convolutions, up-convolutions, blurs, ToRGB),
whatever was computed in their place: fewer multiplications show as a share of the matrix-product peak above 100 %.
The peak is that of ``torch.mm`` on 2048 x 2048 float32, measured by turns with the others.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WIDTHS = {"config-f": 32768, "paper256": 16384}  # channel_base of the published configurations
SIZES = (64, 256, 1024)
BATCHES = (1, 4)
MM_SIZE = 2048


@dataclass(frozen=True)
class Variant:
    """One way to draw: which operations, which malloc."""

    name: str
    ops: str  # FERGAN_OPS
    tuned: bool


VARIANTS = (
    Variant("reference", "reference", False),
    Variant("reference, tuned malloc", "reference", True),
    Variant("fast", "auto", False),
    Variant("fast, tuned malloc", "auto", True),
)


def gflop(size: int, width: str) -> float:
    """Gflop for one image: twice the multiply-adds of the direct form."""
    from fergan.stylegan.networks import channel_table, resolutions

    channels = channel_table(size, WIDTHS[width])
    total = 0.0
    for level, (r, c) in enumerate(zip(resolutions(size), channels, strict=True)):
        total += 9 * c * c * r**2 + 3 * c * r**2  # second convolution, ToRGB
        if level:
            before = channels[level - 1]
            total += 9 * before * c * (r // 2) ** 2 + 16 * c * r**2 + 16 * 3 * r**2  # up, blur, the image up
    return 2 * total / 1e9


def child(size: int, width: str, instruction_set: str) -> None:
    """Say 'ready'; for each batch size on standard input, draw so many faces and say the seconds; then the memory."""
    from fergan.runtime.memory import tune_malloc

    tune_malloc()  # FERGAN_MALLOC=default leaves it as it is
    import resource

    import torch
    from fergan.stylegan.networks import StyleGAN2, StyleGAN2Config, channel_table
    from fergan.stylegan.synthesis.cpu import CPUSynthesis

    torch.manual_seed(0)
    network = StyleGAN2(StyleGAN2Config(size, channels=channel_table(size, WIDTHS[width])))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("bias", "noise_strength")) and "affine" not in name:
                tensor.normal_(0, 0.1)  # as if trained: all terms there
    synthesis = CPUSynthesis(network.synthesis.eval().requires_grad_(False), instruction_set)
    matrix = torch.randn(MM_SIZE, MM_SIZE)
    print("ready", flush=True)
    for line in sys.stdin:
        n = int(line)
        if n:
            ws = torch.randn(n, 1, 512).expand(-1, network.num_ws, -1)
            draw: Callable[[], object] = lambda ws=ws: synthesis(ws, "const")  # noqa: E731
        else:
            draw = lambda: torch.mm(matrix, matrix)  # noqa: E731
        started = time.perf_counter()
        draw()
        seconds = time.perf_counter() - started
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


class Child:
    """A process with one network and one variant."""

    def __init__(self, variant: Variant, size: int, width: str, instruction_set: str) -> None:
        self.variant = variant
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.synthesis", "--child", str(size), width, instruction_set],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "FERGAN_OPS": variant.ops, "FERGAN_MALLOC": "auto" if variant.tuned else "default"},
            cwd=Path(__file__).resolve().parents[1],
        )

    def answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.variant.name!r} ended early; its error is above")
        return line.strip()

    def draw(self, n: int) -> tuple[float, float]:
        """(seconds for n faces, peak memory so far in bytes); n = 0: for one matrix product."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        seconds, memory = self.answer().split()
        return float(seconds), float(memory)

    def close(self) -> None:
        self._process.communicate()


def measure(size: int, width: str, batches: tuple[int, ...], turns: int, instruction_set: str) -> list[str]:
    """The table's rows of one network."""
    children = [Child(variant, size, width, instruction_set) for variant in VARIANTS]
    for one in children:
        assert one.answer() == "ready"
    work = gflop(size, width)
    rows = []
    for n in batches:
        seconds: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
        memory = dict.fromkeys(seconds, 0.0)
        products = []
        for turn in range(turns + 1):
            for one in children:
                taken, memory[one.variant.name] = one.draw(n)
                if turn:  # the first makes everything ready
                    seconds[one.variant.name].append(taken / n)
            products.append(children[-1].draw(0)[0])
        peak = 2 * MM_SIZE**3 / 1e9 / statistics.median(products)
        slowest = statistics.median(seconds[VARIANTS[0].name])
        for name, values in seconds.items():
            median = statistics.median(values)
            rows.append(
                f"| {width} {size} px | {n} | {name} | {median:.4f} | {slowest / median:.2f} | {work / median:.0f} "
                f"| {work / median / peak:.0%} | {memory[name] / 1e9:.2f} |"
            )
    for one in children:
        one.close()
    return rows


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="64 and 256 px in paper256 widths, batch 1, three turns")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="PX", help="image sizes")
    parser.add_argument("--widths", nargs="+", default=list(WIDTHS), choices=WIDTHS, help="channel counts")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="N", help="batch sizes")
    parser.add_argument("--turns", type=int, default=5, help="measured turns of each")
    parser.add_argument("--kernels", default="auto", metavar="SET", help="avx512, avx2 or portable; the best here")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(int(options.child[0]), *options.child[1:])
        return
    if options.quick:
        options.sizes, options.widths, options.batches, options.turns = (64, 256), ["paper256"], (1,), 3

    import torch
    from fergan.stylegan.ops import build
    from fergan.stylegan.synthesis import cpu_kernels as cpu

    kernels = cpu.kernels(options.kernels)
    words = kernels.name if kernels else f"none ({build.why_not('cpu') or 'not of this processor'})"
    print(f"{processor()}, {torch.get_num_threads()} threads, kernels {words}, torch {torch.__version__}\n")
    print("| network | batch | path | s/image | times the reference | GFLOP/s | of mm peak | peak memory, GB |")
    print("|---|---|---|---|---|---|---|---|")
    for width in options.widths:
        for size in options.sizes:
            for row in measure(size, width, tuple(options.batches), options.turns, options.kernels):
                print(row, flush=True)


if __name__ == "__main__":
    main()
