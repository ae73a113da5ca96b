"""The names that packages show: all there, and none imported before it is used."""

import importlib
import subprocess
import sys

import fergan
import pytest


@pytest.mark.parametrize("package", ["fergan", "fergan.data", "fergan.stylegan"])
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert len(module.__all__) <= 10
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match=f"{package}.*nonsense"):
        module.nonsense  # noqa: B018


def test_packages_are_light_until_a_name_is_used():
    code = (
        "import sys, fergan.data, fergan.stylegan; assert fergan.__version__; "
        "print({'torch', 'keras', 'numpy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


def test_what_is_loaded_can_be_saved(tmp_path):
    generator = fergan.load_generator(device="cpu")
    fergan.save_generator(tmp_path / "copy.safetensors", generator)
    copy = fergan.load_generator(tmp_path / "copy.safetensors", device="cpu")
    assert copy.metadata == generator.metadata and copy.metadata["licence"]
    assert (copy.generate([3]) == generator.generate([3])).all()
