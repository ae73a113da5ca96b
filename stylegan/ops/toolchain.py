"""The compilers of this machine: a C++ compiler, ninja, and an nvcc that matches PyTorch."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch


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
    torch_wheels = Path(torch.__file__).parents[1] / "nvidia" / f"cu{major}"
    places += [("pip wheels", wheels), ("pip wheels", torch_wheels)]

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
    found = re.search(r"release (\d+)\.(\d+)", stated_version(nvcc))
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


def cuda_runtime(toolkit: Toolkit) -> Path:
    """The CUDA runtime that PyTorch has loaded; the wheels have no link ``libcudart.so`` that -lcudart would need."""
    assert toolkit.version is not None
    name = f"libcudart.so.{toolkit.version[0]}"
    wheels = Path(torch.__file__).parents[1] / "nvidia"
    folders = [wheels / f"cu{toolkit.version[0]}" / "lib", wheels / "cuda_runtime" / "lib"]
    folders += [Path(torch.__file__).with_name("lib"), toolkit.home / "lib64", toolkit.home / "lib"]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise BuildError(f"there is no {name} beside PyTorch or in {toolkit.home}; {toolkit_advice()}")


def stated_version(program: Path) -> str:
    """The output of ``program --version``; the empty string if it cannot be run."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _python() -> str:
    return shlex.quote(sys.executable or "python")
