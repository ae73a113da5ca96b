"""Compile the custom operations on first use, once, and load them.

The sources in ``csrc`` have a plain ``extern "C"`` interface of pointers and sizes: no PyTorch header, so they compile
in seconds and depend on no ABI of PyTorch's. ninja is called directly, not by ``torch.utils.cpp_extension.load``: that
one waits for ever on the lock file of a process that was killed, and wants PyTorch's headers and an nvcc of its choice.

What is built lies in ``CACHE/ops`` (see :mod:`fergan.runtime.cache`) under a name that is a hash of everything that it
depends on: sources, flags, compilers with their versions, PyTorch and CUDA version, architectures. It is built in a
folder of its own and renamed, under a lock that the operating system lets go when its holder dies, so any number of
processes may start at once. A failure is remembered for the process and told once; PyTorch's own operations then run
in their place.

``FERGAN_OPS=reference`` in the environment turns all of it off; ``auto``, the default, uses what there is.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ...runtime.cache import code_folder, refuse_foreign
from ...runtime.errors import DataError, UsageError
from .toolchain import BuildError, cuda_runtime, find_compiler, find_ninja, find_toolkit, stated_version

CSRC = Path(__file__).with_name("csrc")
KINDS = ("cpu", "cuda")
LOCK_TIMEOUT = 300.0  # seconds to wait for another process that is building the same
BUILD_TIMEOUT = 900.0  # seconds after which a compiler counts as hung

# A source's own flags are in a comment line of it, where the machine is of that kind: "// build flags x86_64: -mavx2".
CXX_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-Wall")
# A newer host compiler than nvcc's table knows is not a problem here: the sources include next to nothing.
NVCC_FLAGS = ("-std=c++17", "-O3", "--allow-unsupported-compiler", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall")


@dataclass(frozen=True)
class BuildPlan:
    """One library: what is compiled, with what.

    Attributes:
        kind: of ``KINDS``.
        compile: for each source, the command without ``-c SOURCE -o OBJECT``.
        link: the command without objects and ``-o LIBRARY``; ``trailing`` comes after the objects.
        identity: versions and whatever else the result depends on.
    """

    kind: str
    compile: tuple[tuple[Path, tuple[str, ...]], ...]
    link: tuple[str, ...]
    trailing: tuple[str, ...]
    identity: tuple[str, ...]

    @property
    def name(self) -> str:
        """File name of the library: the kind and a hash of all that it depends on."""
        digest = hashlib.sha256(repr((self.link, self.trailing, self.identity)).encode())
        for source, command in self.compile:
            digest.update(repr((source.name, command)).encode())
        for file in sorted({file for source, _ in self.compile for file in source.parent.iterdir() if file.is_file()}):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return f"{self.kind}-{digest.hexdigest()[:24]}.so"


_loaded: dict[str, ctypes.CDLL | BuildError] = {}
_guard = threading.RLock()


def why_not(kind: str) -> str | None:
    """Why :func:`library` gives None, and what would change that; None if it does not."""
    if library(kind) is not None:
        return None
    return "FERGAN_OPS=reference" if mode() == "reference" else str(_loaded[kind])


def mode() -> str:
    """The environment's FERGAN_OPS: ``auto`` or ``reference``.

    Raises:
        UsageError: it is something else.
    """
    value = os.environ.get("FERGAN_OPS") or "auto"
    if value not in ("auto", "reference"):
        raise UsageError(f"FERGAN_OPS={value} is neither auto nor reference")
    return value


def library(kind: str) -> ctypes.CDLL | None:
    """The operations in ``csrc/cpu/*.cpp`` or ``csrc/cuda/*.cu``, built for this machine if need be.

    None stands for PyTorch's own operations; there is never a BuildError.
    """
    if mode() == "reference":
        return None
    found = _loaded.get(kind)
    if found is None:
        with _guard:
            if kind not in _loaded:
                _loaded[kind] = _load(kind)
            found = _loaded[kind]
    return None if isinstance(found, BuildError) else found


def _load(kind: str) -> ctypes.CDLL | BuildError:
    if kind == "cuda" and not torch.cuda.is_available():
        return BuildError("PyTorch sees no CUDA GPU here")  # nothing to be told: nothing is missing
    try:
        return ctypes.CDLL(str(build(plan_build(kind))))
    except BuildError as error:
        failure = error
    except OSError as error:
        failure = BuildError(f"the library that was built cannot be loaded ({error}); try 'fergan doctor --build'")
    own = "C++" if kind == "cpu" else "CUDA"
    words = f"{failure.output.rstrip()}\n" if failure.output else ""
    print(f"{words}fergan: PyTorch's operations run in place of the faster {own} ones: {failure}", file=sys.stderr)
    return failure


def build(plan: BuildPlan, *, force: bool = False, lock_timeout: float = LOCK_TIMEOUT) -> Path:
    """The library of a plan: out of the cache, or compiled into it.

    Args:
        plan: of :func:`plan_build`.
        force: compile even if it is in the cache.
        lock_timeout: seconds to wait for another process that builds the same.

    Raises:
        BuildError: it cannot be built or loaded.
    """
    try:
        folder = code_folder("ops")
        target = folder / plan.name
        with FileLock(target.with_suffix(".lock"), timeout=lock_timeout):
            if force or not target.exists():  # another process may have built it while this one waited
                _compile(plan, target)
        refuse_foreign(target)
        return target
    except Timeout:
        raise BuildError(
            f"another process has been building {plan.name} for {lock_timeout:.0f} s; try again when it is done"
        ) from None
    except DataError as error:
        raise BuildError(str(error)) from None
    except (OSError, NotImplementedError) as error:  # read-only, full, or without locks
        raise BuildError(
            f"the cache cannot be used ({error}); set FERGAN_CACHE to a folder that can be written"
        ) from None


def _compile(plan: BuildPlan, target: Path) -> None:
    """Run ninja in a new folder beside ``target``, and move its result there."""
    if sys.stderr.isatty():
        print(f"fergan: compiling the {plan.kind} operations, this once ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
        objects = [f"{source.stem}.o" for source, _ in plan.compile]
        lines = ["rule run", "  command = $line", "  description = $line"]
        steps: list[tuple[str, list[str], list[str]]] = [
            (output, [], [*command, "-c", str(source), "-o", output])
            for output, (source, command) in zip(objects, plan.compile, strict=True)
        ]
        steps.append(("library.so", objects, [*plan.link, *objects, *plan.trailing, "-o", "library.so"]))
        for output, needs, command in steps:
            lines += [f"build {output}: run {' '.join(needs)}", "  line = " + shlex.join(command).replace("$", "$$")]
        (Path(folder) / "build.ninja").write_text("\n".join(lines) + "\n", encoding="utf-8")
        try:
            done = subprocess.run(
                [str(find_ninja())],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=BUILD_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(f"the compiler did not end within {BUILD_TIMEOUT:.0f} s") from None
        if done.returncode:
            raise BuildError("the compiler failed; 'fergan doctor --build' shows what it says", _tail(done.stdout))
        os.chmod(Path(folder) / "library.so", 0o755)  # whatever the umask: what others can write is not loaded
        os.replace(Path(folder) / "library.so", target)


def _tail(output: str, lines: int = 30) -> str:
    return "\n".join(output.strip().splitlines()[-lines:])


def plan_build(kind: str, architectures: Sequence[str] | None = None) -> BuildPlan:
    """How to build a library with the compilers that are here.

    Args:
        kind: ``cpu`` or ``cuda``.
        architectures: for ``cuda``, such as ["sm_90"]; None = those of the GPUs here.

    Raises:
        BuildError: something is missing; the message names it and the command that adds it.
    """
    if not sys.platform.startswith("linux"):
        raise BuildError(f"they are built on Linux only, and this is {platform.system()}")
    compiler = find_compiler()
    find_ninja()
    versions = (platform.machine(), torch.__version__, str(torch.version.cuda), stated_version(compiler))
    if kind == "cpu":
        sources = sorted((CSRC / "cpu").glob("*.cpp"))
        _check_sources(sources)
        commands = [(source, (str(compiler), *CXX_FLAGS, *_own_flags(source))) for source in sources]
        # PyTorch's own OpenMP, if it brought one: a second pool of threads would fight with the first over the cores.
        openmp = sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*"))
        trailing = (str(openmp[0]),) if openmp else ("-fopenmp",)
        return BuildPlan(kind, tuple(commands), (str(compiler), "-shared"), trailing, versions)

    toolkit = find_toolkit()
    if architectures is None:
        capabilities = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
        architectures = sorted({f"sm_{major}{minor}" for major, minor in capabilities})
    if not architectures:
        raise BuildError("PyTorch sees no CUDA GPU here; name an architecture, such as sm_90, to build for")
    targets: list[str] = []
    for architecture in architectures:
        if not re.fullmatch(r"sm_\d+[af]?", architecture):
            raise BuildError(f"{architecture!r} is not a GPU architecture such as sm_90")
        targets += ["-gencode", f"arch=compute_{architecture[3:]},code={architecture}"]
    sources = sorted((CSRC / "cuda").glob("*.cu"))
    _check_sources(sources)
    command = (str(toolkit.nvcc), *NVCC_FLAGS, "-ccbin", str(compiler), *targets)
    return BuildPlan(
        kind,
        tuple((source, command) for source in sources),
        (str(compiler), "-shared"),
        (str(cuda_runtime(toolkit)),),
        (*versions, str(toolkit.version), stated_version(toolkit.nvcc)),
    )


def _check_sources(sources: Sequence[Path]) -> None:
    if not sources:
        raise BuildError("this installation has no sources of them; reinstall fergan")


def _own_flags(source: Path) -> list[str]:
    found = re.search(r"^// build flags(?: (\w+))?: (.*)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return shlex.split(found[2]) if found and found[1] in (None, machine) else []
