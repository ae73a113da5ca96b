import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def make_table(n: int, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> pd.DataFrame:
    """A plausible labels table: `n` faces with random probabilities, the last class never on top."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(len(classes), 0.5), size=n)
    p[:, -1] *= 1e-3
    p /= p.sum(axis=1, keepdims=True)
    top = p.argmax(axis=1)
    table = pd.DataFrame(
        {
            "face": [f"seed{i:04d}.png" for i in range(n)],
            "seed": pd.array(range(n), dtype="Int64"),
            "label": [classes[k] for k in top],
            "confidence": p.max(axis=1),
        }
    )
    for k, name in enumerate(classes):
        table[name] = p[:, k]
    return table


def noise_face(name: str, size: int = 64) -> Image.Image:
    """Noise: the worst case for the size of the page."""
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8", "backslashreplace")))
    return Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture
def settings() -> dict:
    return {
        "run": "default",
        "generate": {"network": "bundled:dcgan", "sha256": "ab" * 32, "seeds": "0-19", "truncation_psi": 0.7},
        "classify": {"model": "bundled:fer", "crop": "none", "filter": "bicubic", "labels": list(CLASSES)},
        "versions": {"fergan": "0.1.0", "python": "3.11"},
        "hardware": {"cpu": "2 cores"},
    }
