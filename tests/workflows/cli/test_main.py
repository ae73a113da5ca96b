"""The command line: light, helpful, and clear about bad input."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.networks import StyleGAN2, StyleGAN2Config

from ..conftest import Invoke


def imported_by(arguments: list[str], folder: Path) -> set[str]:
    """The top-level modules that a command leaves in memory."""
    code = (
        "import sys\nfrom fergan.workflows.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print('MODULES', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    for arguments in (["--help"], ["generate", "--help"], ["mix", "--help"], ["train", "classifier", "--help"]):
        assert not imported_by(arguments, tmp_path) & {"torch", "keras", "tensorflow", "pandas", "numpy"}


@pytest.mark.slow
def test_a_step_imports_only_what_it_needs(three_commands: Path) -> None:
    home = three_commands.parent.parent
    assert not imported_by(["generate", "--n", "500"], home) & {"keras", "tensorflow", "pandas", "matplotlib"}
    assert not imported_by(["report"], home) & {"torch", "keras", "tensorflow"}


@pytest.mark.parametrize(
    "command",
    [
        ["generate"],
        ["classify"],
        ["report"],
        ["run"],
        ["mix"],
        ["interpolate"],
        ["models"],
        ["inspect"],
        ["convert"],
        ["train"],
        ["audit"],
        ["train", "dcgan"],
    ],
)
def test_every_help_has_an_example(command: list[str], invoke: Invoke) -> None:
    done = invoke(*command, "--help")
    assert done.returncode == 0
    assert "Example: fergan " + command[0] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("generate --n 0", 2, "--n"),
        ("generate --n 5 --seeds 1", 2, "exclude each other"),
        ("generate --seeds 1,x", 2, "'x' is not a seed"),
        ("generate --seeds 6-4", 2, "'6-4'"),
        ("generate --noise-mode loud", 2, "loud"),
        ("generate --network no-such-network", 2, "no-such-network"),
        ("generate --network gone.pkl", 1, "gone.pkl"),
        ("generate --network empty.pkl", 1, "empty.pkl"),
        ("generate --n 2 --network dcgan-fer2013-48 --class 3", 2, "no classes"),
        ("generate --n 2 --class bored", 2, "dcgan-fer2013-48-cond draws classes 0 to 6 (angry"),
        ("classify", 1, "fergan generate"),
        ("classify --images gone", 1, "gone"),
        ("classify --images nothing", 1, "no images"),
        ("classify --images junk", 1, "none of its 1 pictures"),
        ("classify --crop tight", 2, "tight"),
        ("classify --images junk --model gone.keras --run other", 1, "gone.keras"),
        ("report", 1, "no such run"),
        ("train classifier --data gone.csv", 1, "gone.csv"),
        ("train dcgan --data nothing", 1, "no images"),
        ("train dcgan --data junk --resolution 50", 2, "multiple of 16"),
        ("train dcgan --data junk --diffaugment blur", 2, "blur"),
        ("frobnicate", 2, "frobnicate"),
        (f"annotate --source {300 * 'x'} --csv a.csv", 1, "x: File name too long"),
        ("generate --run=", 2, "--run '': give NAME"),
        ("report --out=", 2, "--out '': give FILE"),
        ("annotate --source=", 2, "--source '': give WHAT"),
        ("serve --model=", 2, "--model '': give NAME=PATH"),
        ("train classifier --data=", 2, "--data '': give PATH|LABEL=PATH"),
    ],
)
def test_bad_input_gets_one_clear_error(arguments: str, code: int, said: str, tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "face.png").write_bytes(b"junk")
    (tmp_path / "empty.pkl").write_bytes(b"")
    done = invoke(*arguments.split())
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_class_leaves_no_settings_behind(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("generate", "--n", "2", "--class", "9").returncode == 2
    assert invoke("generate", "--n", "2").returncode == 0


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    """The process may not write files beyond 2000 bytes, which is how a full disk looks to it; a face needs more."""
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=64, z_dim=6, w_dim=5, channels=(5,) * 5, num_mapping_layers=2)
    network = StyleGAN2(config).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("noise_strength"):
            tensor.fill_(1)
    save_generator(tmp_path / "noise.safetensors", network)
    code = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from fergan.workflows.cli.main import main\n"
        "import fergan.workflows.steps.generate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "main(['generate', '--n', '20', '--network', 'noise.safetensors'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    left = {path.name for path in (tmp_path / "runs" / "default" / "faces").iterdir()}
    assert not [name for name in left if name.endswith(".tmp")]
