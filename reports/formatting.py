"""How numbers and foreign text are written in the report: one spelling each, for page, figures and sentences."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

from ..runtime.files import printable as printable

NBSP = "\N{NO-BREAK SPACE}"
EN_DASH = "\N{EN DASH}"


def count(n: int) -> str:
    """A whole number with thin groups of three from 10,000 on: `9999`, `10,000`."""
    return f"{n:,}" if abs(n) >= 10_000 else f"{n}"


def percent(share: float, digits: int = 1) -> str:
    """A share 0..1 in per cent, `58.0 %`; what is not exactly 0 or 1 never rounds to 0 or 100.

    >>> percent(0.00001).replace(NBSP, " ")
    '<0.1 %'
    """
    return f"{_percent_number(share, digits)}{NBSP}%"


def percent_range(low: float, high: float, digits: int = 1) -> str:
    """An interval of shares in per cent: `53.6–62.2 %`."""
    return f"{100 * low:.{digits}f}{EN_DASH}{100 * high:.{digits}f}{NBSP}%"


def points(difference: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign: `+3.2 pt`, `−0.4 pt`."""
    return f"{100 * difference:+.{digits}f}{NBSP}pt".replace("-", "\N{MINUS SIGN}")


def moment(text: str) -> str:
    """An ISO 8601 time to read, `2025-01-31 12:00 UTC`; other text as it is.

    >>> moment("2025-01-31T13:00:59+01:00")
    '2025-01-31 12:00 UTC'
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return printable(text, 80)
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if when.tzinfo else f"{when:%Y-%m-%d %H:%M}"


def _percent_number(share: float, digits: int) -> str:
    step = 10.0**-digits
    if share > 0 and 100 * share < step / 2:
        return f"<{step:.{digits}f}"
    if share < 1 and 100 * (1 - share) < step / 2:
        return f">{100 - step:.{digits}f}"
    return f"{100 * share:.{digits}f}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words as prose: `a`, `a and b`, `a, b and c`; `last` is the word before the last."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def plural(n: int, one: str) -> str:
    """`1 face`, `2 faces`, `10,000 faces`."""
    return f"{count(n)}{NBSP}{one if n == 1 else one + 's'}"


def ranges(numbers: Iterable[int], limit: int = 12) -> str:
    """Whole numbers as ascending ranges, `0–499, 1000`; beyond `limit` ranges the rest is counted, not listed."""
    values = np.unique(np.fromiter(numbers, np.int64))
    breaks = np.flatnonzero(np.diff(values) != 1) + 1
    starts, ends = np.append(values[:1], values[breaks]), np.append(values[breaks - 1], values[-1:])
    runs = list(zip(starts.tolist(), ends.tolist(), strict=True))
    text = ", ".join(f"{a}" if a == b else f"{a}{EN_DASH}{b}" for a, b in runs[:limit])
    left = sum(b - a + 1 for a, b in runs[limit:])
    return f"{text} and {count(left)} more" if left else text
