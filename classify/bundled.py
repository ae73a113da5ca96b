"""The classifiers that come with fergan, by name. Imports nothing heavy."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = "fernet-distilled"
"""Who judges where nobody is named."""
BEST = "fernet-efficientnet"
"""The one with the best probabilities and, over ten views, the most accurate; also called ``best``. It takes longer."""
YARDSTICK = "fernet"
"""The one in whose features pictures are compared; it stays, so that such scores stay comparable."""


def bundled_classifiers() -> dict[str, Path]:
    """Model files by the names that :func:`.classifier.load_classifier` takes, the default first."""
    files = sorted(WEIGHTS.glob("*.keras"), key=lambda file: (file.stem != DEFAULT, file.stem))
    return {file.stem: file for file in files}


def bundled_classifier(name: str) -> Path | None:
    """The model file of one of them, or of ``best``; None for other names."""
    return bundled_classifiers().get(BEST if name == "best" else name)
