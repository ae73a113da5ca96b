"""Compile the custom operations on first use, once, and load them.

The sources in ``csrc`` have a plain ``extern "C"`` interface of pointers and sizes: no PyTorch header, so they compile
in seconds and depend on no ABI of PyTorch's. ninja is called directly, not by ``torch.utils.cpp_extension.load``: that
one waits for ever on the lock file of a process that was killed, and wants PyTorch's headers and an nvcc of its choice.

What is built lies in ``CACHE/ops`` (see :func:`cache_folders`) under a name that is a hash of everything that it
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
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ...runtime.errors import UsageError
from ..zoo import default_cache

CSRC = Path(__file__).with_name("csrc")
KINDS = ("cpu", "cuda")
LOCK_TIMEOUT = 300.0  # seconds to wait for another process that is building the same
BUILD_TIMEOUT = 900.0  # seconds after which a compiler counts as hung

# A source's own flags are in a comment line of it, where the machine is of that kind: "// build flags x86_64: -mavx2".
CXX_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-Wall")
# A newer host compiler than nvcc's table knows is no problem here: the sources include next to nothing.
NVCC_FLAGS = ("-std=c++17", "-O3", "--allow-unsupported-compiler", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall")


class BuildError(Exception):
    """Why there is no library: one line; ``output`` is what the compiler said, where one ran."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.output = output


@dataclass(frozen=True)
class Toolkit:
    """An nvcc that was found.

    Attributes:
        home: its CUDA_HOME.
        version: (major, minor); None if it does not run.
        source: where it was named: ``CUDA_HOME``, ``PATH`` ...
        problem: why it does not match this PyTorch; None if it does.
    """

    home: Path
    version: tuple[int, int] | None
    source: str
    problem: str | None

    @property
    def nvcc(self) -> Path:
        return self.home / "bin" / "nvcc"


@dataclass(frozen=True)
class Recipe:
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


def cpu_library() -> ctypes.CDLL | None:
    """The C++ operations (``csrc/cpu/*.cpp``), built if need be; None = use PyTorch's. Never raises BuildError."""
    return _library("cpu")


def cuda_library() -> ctypes.CDLL | None:
    """The CUDA operations (``csrc/cuda/*.cu``), built for the GPUs here if need be; None = use PyTorch's."""
    return _library("cuda")


def why_not(kind: str) -> str | None:
    """Why :func:`cpu_library` or :func:`cuda_library` gives None, and what would change that; None if it does not."""
    if _library(kind) is not None:
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


def _library(kind: str) -> ctypes.CDLL | None:
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
        return ctypes.CDLL(str(build(recipe(kind))))
    except BuildError as error:
        failure = error
    except OSError as error:
        failure = BuildError(f"the library that was built cannot be loaded ({error}); try 'fergan doctor --build'")
    own = "C++" if kind == "cpu" else "CUDA"
    words = f"{failure.output.rstrip()}\n" if failure.output else ""
    print(f"{words}fergan: PyTorch's operations run in place of the faster {own} ones: {failure}", file=sys.stderr)
    return failure


def build(recipe: Recipe, *, force: bool = False, lock_timeout: float = LOCK_TIMEOUT) -> Path:
    """The library of a recipe: out of the cache, or compiled into it.

    Args:
        recipe: of :func:`recipe`.
        force: compile even if it is in the cache.
        lock_timeout: seconds to wait for another process that builds the same.

    Raises:
        BuildError: it cannot be had.
    """
    refusal = "there is no folder to build in"
    for folder in cache_folders():
        target = folder / recipe.name
        if target.exists() and not force:
            return target
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock"), timeout=lock_timeout):
                if force or not target.exists():  # another process may have built it while this one waited
                    _compile(recipe, target)
            return target
        except Timeout:
            raise BuildError(
                f"another process has been building {target.name} for {lock_timeout:.0f} s; try again when it is done"
            ) from None
        except (OSError, NotImplementedError) as error:  # read-only, full, or without locks: the next folder
            refusal = f"the cache {folder} cannot be used ({error}); set FERGAN_CACHE to a folder that can be written"
    raise BuildError(refusal)


def cache_folders() -> Iterator[Path]:
    """Where libraries are kept: the user's cache, then, for when it cannot be written, one of this user's in /tmp.

    The latter is left out if another user can write to it: what lies in it is run.
    """
    yield default_cache() / "ops"
    temporary = Path(tempfile.gettempdir()) / f"fergan-{os.getuid()}"
    try:
        temporary.mkdir(mode=0o700, exist_ok=True)
        status = temporary.lstat()
    except OSError:
        return
    if status.st_uid == os.getuid() and not status.st_mode & 0o022 and not temporary.is_symlink():
        yield temporary / "ops"


def _compile(recipe: Recipe, target: Path) -> None:
    """Run ninja in a new folder beside ``target``, and move its result there."""
    if sys.stderr.isatty():
        print(f"fergan: compiling the {recipe.kind} operations, this once ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
        objects = [f"{source.stem}.o" for source, _ in recipe.compile]
        lines = ["rule run", "  command = $line", "  description = $line"]
        steps: list[tuple[str, list[str], list[str]]] = [
            (output, [], [*command, "-c", str(source), "-o", output])
            for output, (source, command) in zip(objects, recipe.compile, strict=True)
        ]
        steps.append(("library.so", objects, [*recipe.link, *objects, *recipe.trailing, "-o", "library.so"]))
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
        os.replace(Path(folder) / "library.so", target)


def _tail(output: str, lines: int = 30) -> str:
    return "\n".join(output.strip().splitlines()[-lines:])


def recipe(kind: str, architectures: Sequence[str] | None = None) -> Recipe:
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
    versions = (platform.machine(), torch.__version__, str(torch.version.cuda), _version(compiler))
    if kind == "cpu":
        sources = sorted((CSRC / "cpu").glob("*.cpp"))
        _check_sources(sources)
        commands = [(source, (str(compiler), *CXX_FLAGS, *_own_flags(source))) for source in sources]
        # PyTorch's own OpenMP, if it brought one: a second pool of threads would fight with the first over the cores.
        openmp = sorted(Path(torch.__file__).with_name("lib").glob("libgomp*.so*"))
        trailing = (str(openmp[0]),) if openmp else ("-fopenmp",)
        return Recipe(kind, tuple(commands), (str(compiler), "-shared"), trailing, versions)

    toolkit = find_toolkit()
    if architectures is None:
        capabilities = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
        architectures = sorted({f"sm_{major}{minor}" for major, minor in capabilities})
    if not architectures:
        raise BuildError("PyTorch sees no CUDA GPU here; name an architecture, such as sm_90, to build for")
    targets: list[str] = []
    for architecture in architectures:
        if not re.fullmatch(r"sm_\d+[af]?", architecture):
            raise BuildError(f"{architecture!r} is no GPU architecture such as sm_90")
        targets += ["-gencode", f"arch=compute_{architecture[3:]},code={architecture}"]
    sources = sorted((CSRC / "cuda").glob("*.cu"))
    _check_sources(sources)
    command = (str(toolkit.nvcc), *NVCC_FLAGS, "-ccbin", str(compiler), *targets)
    # The runtime that PyTorch has loaded already; the wheels have no link "libcudart.so" that -lcudart would need.
    runtime = _runtime(toolkit)
    return Recipe(
        kind,
        tuple((source, command) for source in sources),
        (str(compiler), "-shared"),
        (str(runtime),),
        (*versions, str(toolkit.version), _version(toolkit.nvcc)),
    )


def _check_sources(sources: Sequence[Path]) -> None:
    if not sources:
        raise BuildError("this installation has no sources of them; reinstall fergan")


def _own_flags(source: Path) -> list[str]:
    found = re.search(r"^// build flags(?: (\w+))?: (.*)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return shlex.split(found[2]) if found and found[1] in (None, machine) else []


def find_compiler() -> Path:
    """The C++ compiler: the environment's CXX, else g++, c++ or clang++ on PATH."""
    named = os.environ.get("CXX")
    for name in [named] if named else ["g++", "c++", "clang++"]:
        if found := shutil.which(name):
            return Path(found)
    if named:
        raise BuildError(f"CXX names {named}, which is not there; unset it or name a C++ compiler")
    raise BuildError("there is no C++ compiler; 'apt-get install g++' or 'dnf install gcc-c++' adds one")


def find_ninja() -> Path:
    """ninja, on PATH or beside this Python (where pip puts it)."""
    found = shutil.which("ninja") or shutil.which("ninja", path=str(Path(sys.executable).parent))
    if not found:
        raise BuildError(f"there is no ninja; '{_python()} -m pip install ninja' adds it")
    return Path(found)


def find_toolkit() -> Toolkit:
    """The first nvcc that matches this PyTorch (see :func:`toolkits`).

    Raises:
        BuildError: none does.
    """
    if torch.version.cuda is None:
        raise BuildError("this PyTorch is built without CUDA; https://pytorch.org/get-started has one with it")
    found = toolkits()
    for toolkit in found:
        if toolkit.problem is None:
            return toolkit
    seen = "; ".join(f"{toolkit.nvcc}: {toolkit.problem}" for toolkit in found)
    raise BuildError(f"{seen or 'there is no nvcc'}; {toolkit_advice()}")


def toolkit_advice() -> str:
    """The command that adds an nvcc that matches this PyTorch."""
    version = str(torch.version.cuda)
    if int(version.split(".")[0]) < 13:  # older wheels have no nvcc that runs
        return f"install the CUDA toolkit {version} (https://developer.nvidia.com/cuda-toolkit-archive), set CUDA_HOME"
    packages = " ".join(f"'{name}=={version}.*'" for name in ("nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt"))
    return f"add one with: {_python()} -m pip install {packages}"


def toolkits() -> list[Toolkit]:
    """Every nvcc there is, in the order in which they are tried.

    That is CUDA_HOME, CUDA_PATH, PATH, /usr/local/cuda, then the pip wheels of the extra ``cuda``. One matches if its
    major version is that of ``torch.version.cuda`` and its minor version is not newer: a library made by an older minor
    version runs on a newer runtime, which is NVIDIA's promise; the other way round it may miss functions.
    """
    places: list[tuple[str, Path]] = []
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            places.append((variable, Path(os.environ[variable])))
    if on_path := shutil.which("nvcc"):
        places.append(("PATH", _home(Path(on_path))))
    places.append(("/usr/local/cuda", Path("/usr/local/cuda")))
    major = (torch.version.cuda or "0").split(".")[0]
    wheels = Path(sysconfig.get_path("purelib")) / "nvidia" / f"cu{major}"
    beside = Path(torch.__file__).parents[1] / "nvidia" / f"cu{major}"
    places += [("pip wheels", wheels), ("pip wheels", beside)]

    found: dict[Path, Toolkit] = {}
    for source, home in places:
        nvcc = home / "bin" / "nvcc"
        if home.resolve() not in found and (nvcc.exists() or source in ("CUDA_HOME", "CUDA_PATH")):
            version = _nvcc_version(nvcc)
            found[home.resolve()] = Toolkit(home, version, source, _mismatch(home, version))
    return list(found.values())


def _home(nvcc: Path) -> Path:
    """CUDA_HOME of an nvcc on PATH, which may be a link to it or a script that starts it."""
    try:
        dry = subprocess.run([nvcc, "--dryrun", "x.cu"], capture_output=True, text=True, timeout=60).stderr
    except (OSError, subprocess.SubprocessError):
        dry = ""
    top = re.search(r"^#\$ TOP=(.+)$", dry, re.MULTILINE)
    return Path(top[1].strip()).resolve() if top else nvcc.resolve().parents[1]


def _nvcc_version(nvcc: Path) -> tuple[int, int] | None:
    found = re.search(r"release (\d+)\.(\d+)", _version(nvcc))
    return (int(found[1]), int(found[2])) if found else None


def _mismatch(home: Path, version: tuple[int, int] | None) -> str | None:
    if not (home / "bin" / "nvcc").exists():
        return "there is none"
    if version is None:
        return "does not run"
    major, minor = (int(part) for part in str(torch.version.cuda or "0.0").split(".")[:2])
    if version[0] != major or version[1] > minor:
        return f"CUDA {version[0]}.{version[1]} does not match PyTorch's {major}.{minor}"
    if not any((home / folder / "cuda_runtime.h").exists() for folder in ("include", "targets/x86_64-linux/include")):
        return "has no cuda_runtime.h beside it"
    return None


def _runtime(toolkit: Toolkit) -> Path:
    assert toolkit.version is not None
    name = f"libcudart.so.{toolkit.version[0]}"
    beside = Path(torch.__file__).parents[1] / "nvidia"
    folders = [beside / f"cu{toolkit.version[0]}" / "lib", beside / "cuda_runtime" / "lib"]
    folders += [Path(torch.__file__).with_name("lib"), toolkit.home / "lib64", toolkit.home / "lib"]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise BuildError(f"there is no {name} beside PyTorch or in {toolkit.home}; {toolkit_advice()}")


def _version(program: Path) -> str:
    """What ``program --version`` says; the empty string if it cannot be run."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _python() -> str:
    return shlex.quote(sys.executable or "python")
