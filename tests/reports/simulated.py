"""Reports whose truth is known: faces drawn from the answers of `fernet` to FER2013 PublicTest."""

from pathlib import Path

import fergan
import numpy as np
from fergan.reports.statistics.correction.prevalence import Validation

FER2013_SHARES = np.array([3995, 436, 4097, 7215, 4830, 3171, 4965]) / 28709
HAPPY_AND_NEUTRAL = np.array([0.02, 0, 0, 0.62, 0.03, 0, 0.33])

FERNET = Path(fergan.__file__).parent / "classify/weights/fernet.validation.npz"

with np.load(FERNET) as stored:
    kept = ~stored["leaks"]
    LABELS = stored["labels"][kept].astype(np.int64)
    ANSWERS = stored["probabilities"][kept].astype(np.float64)
MEMBERS = [np.flatnonzero(c == LABELS) for c in range(7)]


def validation(rng: np.random.Generator, sizes: int | None = None) -> Validation:
    """As many validation faces of each class as there are, or `sizes`, drawn anew."""
    drawn = np.concatenate([rng.choice(members, sizes or len(members)) for members in MEMBERS])
    return Validation("simulated", LABELS[drawn], ANSWERS[drawn])


def labelled(counts: list[int], rng: np.random.Generator) -> np.ndarray:
    """Probabilities [sum of counts, 7] of faces that got each label so often, whatever they show."""
    given = ANSWERS.argmax(axis=1)
    return ANSWERS[np.concatenate([rng.choice(np.flatnonzero(given == k), n) for k, n in enumerate(counts)])]


def faces(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Probabilities [n, 7] of faces with these expressions, under label shift."""
    counts = rng.multinomial(n, shares)
    return ANSWERS[np.concatenate([rng.choice(m, k) for m, k in zip(MEMBERS, counts, strict=True)])]
