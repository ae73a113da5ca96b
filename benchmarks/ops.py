"""Each operation of StyleGAN2, forward and backward, reference against fast: ``python -m benchmarks.ops``.

Prints one Markdown table for each device at hand. Times are medians of interleaved runs. On a GPU it also gives GB/s,
which counts what an operation must read and write, and its share of the bandwidth that copying a tensor reaches there;
none for the styled convolutions, whose time is that of cuDNN's convolution. A CPU has fast code for whole networks
only, not for single operations: see ``python -m benchmarks.synthesis``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fergan.runtime.memory import tune_malloc
from fergan.stylegan.ops import (
    Resampling,
    bias_act,
    build,
    downsample2d,
    setup_filter,
    styled_conv2d,
    upfirdn2d,
    upsample2d,
)

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        inputs: the tensors to differentiate by, the first one the image.
        traffic: reads and writes of the forward pass in images of the input's size; None = not bound by them.
    """

    name: str
    function: Callable[..., torch.Tensor]
    inputs: tuple[torch.Tensor, ...]
    traffic: float | None


def cases(device: str, dtype: torch.dtype, n: int, channels: int, resolution: int, last: bool) -> Iterator[Case]:
    """The operations at one size."""
    layout = torch.channels_last if last else torch.contiguous_format
    kernel = setup_filter([1, 3, 3, 1]).to(device)

    def images(size: int) -> torch.Tensor:
        return torch.randn(n, channels, size, size, device=device).to(dtype, memory_format=layout).requires_grad_()

    x, half = images(resolution), images(resolution // 2)
    bias, styles = torch.randn(channels, device=device), torch.randn(n, channels, device=device)
    weight, noise = (
        torch.randn(channels, channels, 3, 3, device=device),
        torch.randn(resolution, resolution, device=device),
    )
    for tensor in (bias, styles, weight):
        tensor.requires_grad_()

    def layer(up: int) -> Callable[..., torch.Tensor]:
        return lambda x, w, s, b: styled_conv2d(x, w, s, b, up=up, kernel=kernel, noise=noise, clamp=256)

    yield Case("bias_act lrelu", lambda x, b: bias_act(x, b, activation="lrelu", clamp=256), (x, bias), 2)
    yield Case("upfirdn2d 4x4", lambda x: upfirdn2d(x, kernel, Resampling(padding=(2, 1, 2, 1))), (x,), 2)
    yield Case("upfirdn2d 4x4, up 2", lambda x: upsample2d(x, kernel), (half,), 5)
    yield Case("upfirdn2d 4x4, down 2", lambda x: downsample2d(x, kernel), (x,), 1.25)
    yield Case("styled_conv2d 3x3", layer(1), (x, weight, styles, bias), None)
    yield Case("styled_conv2d 3x3, up 2", layer(2), (half, weight, styles, bias), None)


@contextmanager
def operations(mode: str) -> Iterator[None]:
    before = os.environ.get("FERGAN_OPS")
    os.environ["FERGAN_OPS"] = mode
    try:
        yield
    finally:
        os.environ.pop("FERGAN_OPS")
        if before is not None:
            os.environ["FERGAN_OPS"] = before


def seconds(steps: list[Step], device: str, repeats: int) -> list[float]:
    """Median seconds of each step, the steps taking turns."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(repeats + 2):
        for step, of_step in zip(steps, times, strict=True):
            spent = _seconds(step, device)
            if turn >= 2:  # the first turns build, choose algorithms and fill caches
                of_step.append(spent)
    return [statistics.median(of_step) for of_step in times]


def _seconds(step: Step, device: str) -> float:
    if device == "cpu":
        started = time.perf_counter()
        step()
        return time.perf_counter() - started
    torch.empty(2**28, dtype=torch.uint8, device=device).zero_()  # nothing is left in the GPU's cache
    started_event, ended_event = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    started_event.record()
    step()
    ended_event.record()
    ended_event.synchronize()
    return started_event.elapsed_time(ended_event) / 1e3


def steps_of(case: Case, mode: str) -> tuple[Step, Step]:
    """(forward without gradients, backward alone) of a case."""
    with operations(mode):
        y = case.function(*case.inputs)
    dy = torch.randn_like(y)

    def forward() -> None:
        with operations(mode), torch.no_grad():
            case.function(*case.inputs)

    def backward() -> None:
        with operations(mode):
            torch.autograd.grad(y, case.inputs, dy, retain_graph=True)

    return forward, backward


def copy_bandwidth(device: str, repeats: int) -> float:
    """Bytes a second, read and written, of copying 1 GiB."""
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds([lambda: target.copy_(source)], device, repeats)[0]


def table(device: str, settings: argparse.Namespace) -> None:
    fast = device != "cpu" and build.library("cuda") is not None
    heading = ["operation", "dtype", "layout", "pass", "reference ms"]
    heading += ["fast ms", "ratio", "GB/s", "of a copy"] if fast else []
    if device == "cpu":
        print(f"\n{platform.machine()} CPU, {torch.get_num_threads()} threads, ", end="")
    else:
        print(f"\n{torch.cuda.get_device_name(device)}, ", end="")
        if not fast:
            print(f"without the kernels ({build.why_not('cuda')}), ", end="")
    copy = copy_bandwidth(device, settings.repeats) if fast else 0.0
    print(f"PyTorch {torch.__version__}, [{settings.batch}, {settings.channels}, {settings.resolution}²]", end="")
    print(f", a copy moves {copy / 1e9:.0f} GB/s\n" if fast else "\n")
    print("| " + " | ".join(heading) + " |")
    print("|" + "---|" * len(heading))
    for dtype in [torch.float32] if device == "cpu" else [torch.float16, torch.float32]:
        for last in (False, True):
            made = cases(device, dtype, settings.batch, settings.channels, settings.resolution, last)
            for case in made:
                pairs = [steps_of(case, mode) for mode in (["reference", "auto"] if fast else ["reference"])]
                for index, name in enumerate(("forward", "backward")):
                    spent = seconds([pair[index] for pair in pairs], device, settings.repeats)
                    row = [case.name, str(dtype).removeprefix("torch."), "channels last" if last else "planes", name]
                    row += [f"{1e3 * spent[0]:.3f}"]
                    if fast:
                        row += [f"{1e3 * spent[1]:.3f}", f"{spent[0] / spent[1]:.2f}"]
                        row += _bandwidth(case, spent[1], copy) if name == "forward" else ["", ""]
                    print("| " + " | ".join(row) + " |", flush=True)


def _bandwidth(case: Case, spent: float, copy: float) -> list[str]:
    if case.traffic is None:
        return ["", ""]
    image = case.inputs[0]
    rate = case.traffic * image.numel() * image.element_size() / spent
    return [f"{rate / 1e9:.0f}", f"{100 * rate / copy:.0f} %"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: each that is here")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    settings = parser.parse_args()
    tune_malloc()  # else clearing memory for large results is most of what is timed
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in [settings.device] if settings.device else devices:
        table(device, settings)


if __name__ == "__main__":
    main()
