"""Building the operations: once, safely, and what happens where something is missing.

The compilers, ninja, locks and folders are real; what is missing is left off PATH.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fergan.stylegan.ops import build, toolchain

if not sys.platform.startswith("linux"):
    pytest.skip("the operations are built on Linux only", allow_module_level=True)
if not shutil.which("g++"):
    pytest.skip("no g++ here; install g++ to run these tests", allow_module_level=True)

NINJA = str(toolchain.find_ninja())
SOURCE = """// build flags x86_64: -mavx2
extern "C" __attribute__((visibility("default"))) int answer() {
    int sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < 42; ++i) sum += 1;
    return sum;
}
"""
CHILD = """
import sys
from pathlib import Path
from fergan.stylegan.ops import build
build.CSRC = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(build.library("cpu").answer(), flush=True)
"""


SITE = str(Path(torch.__file__).parents[1])
HOLD = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine with a C++ compiler that notes its calls, ninja, a cache of its own and one small source."""
    (tmp_path / "csrc" / "cpu").mkdir(parents=True)
    (tmp_path / "csrc" / "cpu" / "answer.cpp").write_text(SOURCE)
    tools = tmp_path / "bin"
    script(tools / "g++", f'echo "$@" >> {tmp_path}/calls; PATH={os.environ["PATH"]} exec {shutil.which("g++")} "$@"')
    (tools / "ninja").symlink_to(NINJA)
    (tools / "sh").symlink_to("/bin/sh")
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FERGAN_OPS", "auto")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("FERGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(tools / "python"))  # ninja is looked for beside it
    monkeypatch.setattr(build, "CSRC", tmp_path / "csrc")
    monkeypatch.setattr(build, "_loaded", {})
    return tmp_path


def compilations(place):
    calls = (place / "calls").read_text().splitlines() if (place / "calls").exists() else []
    return sum(" -c " in call for call in calls)


def refused(capfd):
    """library("cpu") gives None, says why once, and remembers it."""
    assert build.library("cpu") is None
    told = capfd.readouterr().err
    assert build.library("cpu") is None
    assert capfd.readouterr().err == ""
    reason = build.why_not("cpu")
    assert reason and "\n" not in reason
    assert told.splitlines()[-1] == f"fergan: PyTorch's operations run in place of the faster C++ ones: {reason}"
    return told


def test_built_once_and_found_again(place, monkeypatch, capfd):
    assert build.library("cpu").answer() == 42
    assert build.why_not("cpu") is None
    assert compilations(place) == 1
    monkeypatch.setattr(build, "_loaded", {})  # another process
    assert build.library("cpu").answer() == 42
    assert compilations(place) == 1
    lock, library = sorted(path.suffix for path in (place / "cache" / "ops").iterdir())
    assert (lock, library) == (".lock", ".so")  # nothing else is left behind
    assert capfd.readouterr().err == ""


def test_whatever_it_depends_on_changes_its_name(place, monkeypatch):
    names = {build.plan_build("cpu").name}
    (place / "csrc" / "cpu" / "header.h").write_text("// new\n")
    names.add(build.plan_build("cpu").name)
    (place / "csrc" / "cpu" / "answer.cpp").write_text(SOURCE.replace("42", "43"))
    names.add(build.plan_build("cpu").name)
    monkeypatch.setattr(build, "CXX_FLAGS", (*build.CXX_FLAGS, "-g"))
    names.add(build.plan_build("cpu").name)
    monkeypatch.setattr(torch, "__version__", "0.0")
    names.add(build.plan_build("cpu").name)
    script(place / "bin" / "g++", "echo another 1.0")
    names.add(build.plan_build("cpu").name)
    assert len(names) == 6


def test_no_compiler(place, capfd):
    (place / "bin" / "g++").unlink()
    assert "there is no C++ compiler; 'apt-get install g++'" in refused(capfd)


def test_no_ninja(place, capfd):
    (place / "bin" / "ninja").unlink()
    assert "there is no ninja; '" in refused(capfd)


def test_a_compiler_that_fails_is_quoted(place, capfd):
    (place / "csrc" / "cpu" / "answer.cpp").write_text("int answer() { return nonsense; }\n")
    told = refused(capfd)
    assert "nonsense" in told
    assert "'fergan doctor --build' shows what it says" in told.splitlines()[-1]
    assert compilations(place) == 1
    assert [path.suffix for path in (place / "cache" / "ops").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written(place, monkeypatch, capfd):
    (place / "file").write_text("")
    monkeypatch.setenv("FERGAN_CACHE", str(place / "file" / "cache"))
    assert "set FERGAN_CACHE to a folder that can be written" in refused(capfd)


@pytest.mark.parametrize("planted", ["cache", "cache/ops", "library"])
def test_what_others_can_write_is_not_loaded(place, monkeypatch, capfd, planted):
    library = build.build(build.plan_build("cpu"))
    path = library if planted == "library" else place / planted
    path.chmod(0o777)
    assert f"{path}: other users can write to it" in refused(capfd)
    monkeypatch.setattr(build, "_loaded", {})
    path.chmod(0o755)
    assert build.library("cpu").answer() == 42


def test_a_wide_umask_does_not_lock_the_user_out(place, monkeypatch):
    before = os.umask(0)
    try:
        assert build.library("cpu").answer() == 42
        monkeypatch.setattr(build, "_loaded", {})
        assert build.library("cpu").answer() == 42
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_what_belongs_to_another_user_is_not_loaded(place, capfd):
    os.chown(build.build(build.plan_build("cpu")), 65534, 65534)
    assert "belongs to another user" in refused(capfd)


def test_two_processes_at_once_build_once(place):
    script(
        place / "bin" / "g++",
        (place / "bin" / "g++").read_text().split("\n", 1)[1].replace("echo", "/bin/sleep 1; echo"),
    )
    python = [os.path.realpath("/proc/self/exe"), "-c", f"import site; site.addsitedir({SITE!r})\n{CHILD}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*python, str(place / "csrc")], **pipes) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    answers = [child.communicate("go\n", timeout=120)[0] for child in children]
    assert answers == ["42\n", "42\n"]
    assert compilations(place) == 1


def test_the_lock_of_a_dead_process_stops_nobody_and_that_of_a_live_one_not_for_ever(place):
    plan = build.plan_build("cpu")
    lock = place / "cache" / "ops" / plan.name.replace(".so", ".lock")
    lock.parent.mkdir(parents=True)
    python = [os.path.realpath("/proc/self/exe"), "-c", f"import site; site.addsitedir({SITE!r})\n{HOLD}", str(lock)]
    holder = subprocess.Popen(python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(toolchain.BuildError, match="another process has been building"):
        build.build(plan, lock_timeout=0.2)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert lock.exists()  # stale
    assert build.build(plan, lock_timeout=5).exists()


needs_cuda = pytest.mark.skipif(torch.version.cuda is None, reason="this PyTorch is built without CUDA")


def fake_nvcc(home, release):
    (home / "include").mkdir(parents=True)
    (home / "include" / "cuda_runtime.h").write_text("")
    return script(home / "bin" / "nvcc", f'echo "Cuda compilation tools, release {release}, V{release}.1"')


@needs_cuda
def test_an_nvcc_of_another_cuda_is_passed_over(place, monkeypatch):
    major, minor = (int(part) for part in torch.version.cuda.split("."))
    for release in (f"{major - 1}.8", f"{major}.{minor + 1}"):
        home = place / release
        fake_nvcc(home, release)
        monkeypatch.setenv("CUDA_HOME", str(home))
        problem = f"CUDA {release} does not match PyTorch's {torch.version.cuda}"
        assert [toolkit.problem for toolkit in toolchain.toolkits() if toolkit.source == "CUDA_HOME"] == [problem]
        try:
            assert toolchain.find_toolkit().home != home
        except toolchain.BuildError as error:  # there is no other
            assert problem in str(error)
            assert f"nvidia-cuda-nvcc=={torch.version.cuda}" in str(error)
    older = place / "older"
    fake_nvcc(older, f"{major}.0")
    monkeypatch.setenv("CUDA_HOME", str(older))
    assert toolchain.find_toolkit().home == older  # the first that matches


@needs_cuda
def test_a_cuda_home_without_nvcc_is_named(place, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(place / "nowhere"))
    assert toolchain.toolkits()[0].problem == "there is none"
    script(place / "broken" / "bin" / "nvcc", "exit 1")
    monkeypatch.setenv("CUDA_HOME", str(place / "broken"))
    assert toolchain.toolkits()[0].problem == "does not run"


def test_the_advice_is_a_command_for_this_pytorch(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    advice = toolchain.toolkit_advice()
    assert f"{sys.executable} -m pip install 'nvidia-cuda-nvcc==13.2.*' 'nvidia-nvvm==13.2.*'" in advice
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "CUDA toolkit 12.8" in toolchain.toolkit_advice()
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(toolchain.BuildError, match="built without CUDA"):
        toolchain.find_toolkit()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_cuda_is_not_tried(place, capfd):
    assert build.library("cuda") is None
    assert build.why_not("cuda") == "PyTorch sees no CUDA GPU here"
    assert capfd.readouterr().err == ""
    assert not (place / "cache").exists()


@pytest.mark.slow
def test_the_cuda_kernels_compile(tmp_path, monkeypatch):
    """For the A100, the H100 and H200, and the B200, with the real nvcc; no GPU is needed."""
    try:
        toolkit = toolchain.find_toolkit()
    except toolchain.BuildError as error:
        pytest.skip(f"no nvcc for this PyTorch: {error}")
    monkeypatch.setenv("FERGAN_CACHE", str(tmp_path))
    try:
        library = build.build(build.plan_build("cuda", ["sm_80", "sm_90", "sm_100"]))
    except toolchain.BuildError as error:
        pytest.fail(f"{toolkit.nvcc}: {error}\n{error.output}")
    content = library.read_bytes()
    assert all(f"sm_{n}".encode() in content for n in (80, 90, 100))
    loaded = ctypes.CDLL(str(library))
    assert loaded.fergan_bias_act and loaded.fergan_upfirdn2d
