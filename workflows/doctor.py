"""A look at the machine: programs, hardware, and which implementation each operation therefore uses."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch

from ..classify.bundled import bundled_classifiers
from ..runtime.cache import cache_folder
from ..runtime.errors import DataError, first_line
from ..runtime.version import __version__
from ..stylegan.ops import build, cuda, toolchain
from ..stylegan.synthesis import cpu_kernels as cpu
from ..stylegan.zoo import bundled_generators

OPERATIONS = ("bias_act", "upfirdn2d", "modulated_conv2d", "styled_conv2d")
Row = tuple[str, str]
_FOR_DEVELOPERS = ("all", "browser", "docs", "test")  # "all" is made of others


def machine() -> list[Row]:
    """Programs, versions, GPUs, compilers, caches: (what, what was found)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("fergan", __version__),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("System", f"{platform.system()} {platform.machine()}, {cores} cores, PyTorch uses {torch.get_num_threads()}"),
        ("PyTorch", f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}"),
        ("GPUs", "\n".join(_gpus()) or "PyTorch sees none"),
        ("C++ compiler", _found(toolchain.find_compiler)),
        ("ninja", _found(toolchain.find_ninja)),
        ("nvcc", "\n".join(_nvccs()) or f"none; {toolchain.toolkit_advice()}"),
        ("Networks", ", ".join(bundled_generators()) + "; fergan models lists more"),
        ("Classifiers", ", ".join(bundled_classifiers())),
        ("Extras", _extras(missing_packages())),
        ("Cache", _cache()),
        ("FERGAN_OPS", build.mode()),
        ("FERGAN_MALLOC", _malloc()),
    ]


def missing_packages() -> dict[str, list[str]]:
    """By extra of fergan the packages that its metadata ask for and that are not installed."""
    missing: dict[str, list[str]] = {}
    try:
        wanted = metadata.requires("fergan") or []
    except metadata.PackageNotFoundError:  # a bare checkout
        wanted = []
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == [\"']([\w-]+)[\"']", requirement)
        if name is None or extra is None or extra[1] in _FOR_DEVELOPERS:
            continue
        lacking = missing.setdefault(extra[1], [])
        try:
            metadata.version(name[0])
        except metadata.PackageNotFoundError:
            lacking.append(name[0])
    return missing


def _extras(missing: Mapping[str, Sequence[str]]) -> str:
    """Which extras are here, and the command that brings each other one."""
    complete = [extra for extra, packages in missing.items() if not packages]
    lines = [f"here: {', '.join(sorted(complete))}"] if complete else []
    lines += [f"{extra}: pip install 'fergan[{extra}]'" for extra in sorted(missing) if missing[extra]]
    return "\n".join(lines) or "not known: fergan was not installed by pip"


def next_step(folder: Path = Path()) -> str:
    """The one command to give next in a folder.

    Without a run it is the first run; with one, what makes drawing faster or what checks the numbers.
    """
    if build.mode() != "reference":
        try:
            toolchain.find_compiler()
        except toolchain.BuildError:
            return "apt-get install g++, or another C++ compiler: StyleGAN2 then draws 2.5 to 7 times as fast"
    runs = [path.parent for path in (folder / "runs").glob("*/run.json")]
    if not runs:
        return "fergan run --n 500 --run first"
    latest = max(runs, key=lambda run: (run / "run.json").stat().st_mtime)
    if not (latest / "labels.csv").exists() and not (latest / "labels").exists():
        return f"fergan classify --run {latest.name}"
    if not (latest / "report.html").exists():
        return f"fergan report --run {latest.name}"
    if not (latest / "sensitivity.json").exists():
        return f"fergan report --run {latest.name} --sensitivity"
    return f"fergan audit labels --run {latest.name}"


def operations() -> list[tuple[str, str, str]]:
    """The implementation of each operation: (operation, on a CPU, on a GPU). Builds what is not built yet."""
    kernels = cpu.kernels()
    network = f"C++ ({kernels.name})" if kernels else f"PyTorch: {build.why_not('cpu') or 'not this processor'}"
    refusal = build.why_not("cuda") or cuda.disagreement(torch.device("cuda"))
    if refusal is None:
        on_gpu, graphs = "CUDA kernels", "CUDA graphs, CUDA kernels"
    else:
        on_gpu = graphs = f"PyTorch: {refusal}" if torch.cuda.is_available() else refusal
    return [("drawing a whole network", network, graphs), *((name, "PyTorch", on_gpu) for name in OPERATIONS)]


def build_now(architectures: Sequence[str]) -> Iterator[str]:
    """Build what can be built here, whether or not it is in the cache, and tell of each.

    Args:
        architectures: such as ["sm_90"], to build the CUDA kernels for; empty = those of the GPUs here, if any.

    Raises:
        DataError: something cannot be built; the message has the compiler's words.
    """
    kinds = [kind for kind in build.KINDS if kind == "cpu" or architectures or torch.cuda.is_available()]
    failures = []
    for kind in kinds:
        started = time.perf_counter()
        try:
            library = build.build(build.plan_build(kind, architectures or None), force=True)
            yield f"{kind}: built in {time.perf_counter() - started:.1f} s, {library}"
        except toolchain.BuildError as error:
            failures.append(f"{error.output}\nthe {kind} operations: {error}".strip())
    if "cuda" not in kinds:
        yield "cuda: no GPU here, so nothing to build for; --arch sm_90 builds for another machine's"
    if failures:
        raise DataError("\n".join(failures))


def _gpus() -> list[str]:
    found = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(i)
        found.append(f"{i}: {gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 2**30:.0f} GiB")
    return found


def _nvccs() -> list[str]:
    """Each one, and whether it is the one to be used."""
    lines, used = [], False
    for toolkit in toolchain.toolkits():
        if toolkit.problem is not None:
            verdict = toolkit.problem
        else:
            verdict = "matches" if used else "matches, is used"
            used = True
        version = "" if toolkit.version is None else f" {toolkit.version[0]}.{toolkit.version[1]}"
        lines.append(f"{toolkit.nvcc}{version} (by {toolkit.source}): {verdict}")
    if lines and not used:
        lines.append(toolchain.toolkit_advice() if torch.version.cuda else "this PyTorch is built without CUDA")
    return lines


def _found(find: Callable[[], Path]) -> str:
    try:
        program = find()
    except toolchain.BuildError as error:
        return str(error)
    return f"{program}, {first_line(toolchain.stated_version(program)) or 'which does not run'}"


def _cache() -> str:
    folder = cache_folder() / "ops"
    if folder.exists():
        files = list(folder.glob("*.so"))
        content = f"{len(files)} built, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
    else:
        content = "nothing yet"
    nearest = next(parent for parent in [folder, *folder.parents] if parent.exists())
    writable = nearest.is_dir() and os.access(nearest, os.W_OK)
    return f"{folder}, {content}" + ("" if writable else "; cannot be written: set FERGAN_CACHE to another")


def _malloc() -> str:
    if os.environ.get("FERGAN_MALLOC") == "default":
        return "default: memory goes back to the system when it is freed"
    return "auto: freed memory is kept for the next picture (glibc)" if platform.libc_ver()[0] else "auto: not glibc"
