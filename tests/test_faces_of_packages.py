"""The names that packages show: all there, and none imported before it is used."""

import importlib
import pydoc
import subprocess
import sys

import fergan
import pytest

PACKAGES = ["fergan", "fergan.classify", "fergan.data", "fergan.reports", "fergan.stylegan"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert len(module.__all__) <= 10
    assert set(module.__all__) <= set(dir(module))
    assert not {"TYPE_CHECKING", "lazy_names"} & set(dir(module))
    shown = pydoc.render_doc(module, renderer=pydoc.plaintext)
    star = {}
    exec(f"from {package} import *", star)
    for name in module.__all__:
        value = getattr(module, name)
        assert value.__name__.endswith(name) and value is star[name] and value is vars(module)[name]
        assert f"    {name}" in shown or f"class {name}" in shown
    with pytest.raises(AttributeError, match=f"{package}.*nonsense"):
        module.nonsense  # noqa: B018


def test_packages_are_light_until_a_name_is_used():
    code = (
        f"import sys, {', '.join(PACKAGES)}; assert fergan.__version__; "
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
