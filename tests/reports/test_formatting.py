"""How numbers, names and settings are written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.reports.formatting import count, listed, moment, percent, percent_range, plural, points, printable, ranges
from fergan.reports.settings import plain, settings_tables


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.58, "58.0 %"), (1e-6, "<0.1 %"), (1 - 1e-6, ">99.9 %"), (0.0005, "0.1 %")],
)
def test_a_share_that_is_not_nothing_is_never_shown_as_nothing(share: float, text: str) -> None:
    assert percent(share).replace("\xa0", " ") == text


def test_numbers_in_words() -> None:
    assert (count(9999), count(10000)) == ("9999", "10,000")
    assert (plural(1, "face"), plural(2, "face")) == ("1\xa0face", "2\xa0faces")
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c" and listed([]) == ""
    assert percent_range(0.536, 0.622) == "53.6–62.2\xa0%"


def test_differences_and_times() -> None:
    assert (points(0.0321), points(-0.4, 0)) == ("+3.2\xa0pt", "\N{MINUS SIGN}40\xa0pt")
    assert moment("2025-01-31T13:00:59+01:00") == "2025-01-31 12:00 UTC"
    assert moment("<b>\u202e") == "<b>\\u202e"


def test_seeds_are_written_as_ranges() -> None:
    assert ranges([3, 1, 2, 7, 9, 10]) == "1–3, 7, 9–10"
    assert ranges(range(0, 100, 2), limit=3) == "0, 2, 4 and 47 more"
    assert ranges([]) == ""


def test_every_character_of_a_name_is_visible() -> None:
    assert printable("a\u202eb\x00c\udce9d\ue000") == "a\\u202eb\\x00c\\udce9d\\ue000"
    assert printable("Zoë 😀 日本") == "Zoë 😀 日本"
    assert len(printable("x" * 9999, 100)) <= 100


def test_settings_become_plain_json_values() -> None:
    value = {1: np.float32(0.5), "a": np.arange(2), "p": Path("x"), "n": float("inf"), "t": (None, pd.NA, True)}
    assert plain(value) == {"1": 0.5, "a": [0, 1], "p": "x", "n": None, "t": [None, None, True]}


def test_settings_become_tables() -> None:
    generate = {"seeds": [0, 1, 2], "x": {"y_z": 1.0}, "off": None}
    tables = settings_tables({"run": "a", "generate": generate, "empty": {}})
    assert [(t.heading, t.rows) for t in tables] == [
        ("Run", (("run", "a"),)),
        ("Generate", (("seeds", "0–2"), ("x.y z", "1"), ("off", "–"))),
    ]


def test_endless_settings_are_cut() -> None:
    (table,) = settings_tables({"big": {str(i): i for i in range(1000)}})
    assert len(table.rows) == 201 and "800 more" in table.rows[-1][1]
