"""The page of an evaluation and the leaderboard, from made-up numbers."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fergan.reports.pages.evaluation import Filters, Look, Pictures, build_evaluation_page, overlay
from fergan.reports.pages.leaderboard import leaderboard_data, leaderboard_markdown, leaderboard_page
from fergan.reports.report_json import schema
from fergan.reports.statistics.differences.ranking import Entry, mcnemar, rank

from ..markup import HOSTILE, assert_self_contained

N = 40


def _accuracy(correct: int, n: int) -> dict[str, float]:
    return {"value": correct / n, "low": max(0.0, correct / n - 0.1), "high": min(1.0, correct / n + 0.1)}


def _scores(correct: int, n: int = N) -> dict:
    return {
        "n": n,
        "correct": correct,
        "accuracy": _accuracy(correct, n),
        "macro_f1": 0.6,
        "balanced_accuracy": 0.61,
        "ece": 0.08,
        "nll": 0.9,
    }


def make_calibration(accuracy: float) -> dict:
    return {
        "ece": 0.08,
        "mce": 0.1,
        "nll": 0.9,
        "brier": 0.4,
        "mean_confidence": 0.7,
        "mean_accuracy": accuracy,
        "bins": {"confidence": [None, 0.7], "accuracy": [None, accuracy], "counts": [0, N]},
    }


def make_model(name: str) -> dict:
    return {
        "name": name,
        "sha256": name.encode().hex().ljust(64, "0"),
        "labels": ["happy", HOSTILE[1], "fear"],
        "bytes": 1000,
        "parameters": 1_234_567,
        "macs": 33_000_000,
        "short_run": False,
        "epochs": 40,
        "seconds": 5140,
    }


def make_data(row_hash: str) -> dict:
    return {
        "name": "faces.csv, PublicTest",
        "paths": [HOSTILE[0]],
        "split": "PublicTest",
        "n": N,
        "row_hash": row_hash,
        "labels": ["happy", HOSTILE[1], "fear"],
        "left_out": {"contempt": 3},
        "official": True,
        "notes": [],
    }


def make_evaluation(name: str = "small", correct: int = 30, row_hash: str = "ab" * 32) -> dict:
    """A plausible evaluation of three classes, the last one without faces."""
    calibration = make_calibration(correct / N)
    curve = {"false_positive_rate": [0, 0.2, 1], "true_positive_rate": [0, 0.7, 1]}
    classes = [
        {"label": label, "support": 20, "precision": 0.7, "recall": _accuracy(14, 20), "f1": 0.7, "auc": 0.9}
        for label in ("happy", HOSTILE[1])
    ]
    classes.append({"label": "fear", "support": 0, "precision": None, "recall": None, "f1": None, "auc": None})
    return {
        "format": {"name": "fergan.evaluation", "version": 1},
        "created": "2026-01-31T12:00:00+00:00",
        "fergan": "0.1.0",
        "model": make_model(name),
        "data": make_data(row_hash),
        "views": {"single": _scores(correct), "ten": _scores(correct + 1)},
        "view_list": [[1, 0, False]],
        "classes": classes,
        "macro": {"precision": 0.7, "recall": 0.7, "f1": 0.7, "auc": 0.9},
        "confusion": [[14, 6, 0], [4, 16, 0], [0, 0, 0]],
        "roc": [
            {"label": "happy", "auc": 0.9, **curve},
            {"label": HOSTILE[1], "auc": 0.9, **curve},
            {"label": "fear", "auc": None, "false_positive_rate": [], "true_positive_rate": []},
        ],
        "calibration": {
            "as_given": calibration,
            "scaled": {**calibration, "ece": 0.03},
            "temperature": {"value": 0.8, "fitted_on": "these 40 faces", "cross_fitted": True, "halves": [0.7, 0.9]},
        },
        "leaks": {
            "looked": True,
            "reason": None,
            "threshold": 0.8,
            "rows": 4,
            "exact": 1,
            "near": 3,
            "without": {"single": _scores(27, 36), "ten": _scores(28, 36)},
        },
        "training_sample": {"n": 40, "correct": 38, "accuracy": _accuracy(38, 40)},
        "learning": {
            "accuracy": {"training": [0.3, 0.5, 0.6], "validation": [0.2, None, 0.5]},
            "loss": {"training": [2.0, 1.5, 1.1], "validation": [2.1, 1.6, 1.4]},
            "best_epoch": 3,
            "gap": 0.1,
        },
        "speed": {"faces_per_second": 812.3, "device": "cpu", "engine": "torch", "threads": 2},
        "mistakes": [
            {"row": i, "name": HOSTILE[i], "label": "happy", "given": HOSTILE[1], "confidence": 0.99} for i in range(5)
        ],
        "notes": [HOSTILE[2]],
    }


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 48, 48), np.uint8)
    heat = rng.random((48, 48), np.float32)
    looks = [
        Look(0, HOSTILE[3], "happy", "happy", 0.9, (heat,)),
        Look(1, HOSTILE[4], "happy", HOSTILE[1], 0.6, (heat, 1 - heat)),
    ]
    filters = Filters("stem", rng.normal(size=(4, 3, 3)).astype(np.float32), rng.normal(size=(4, 48, 48)), HOSTILE[0])
    return Pictures(lambda row: images[row], looks, filters, (HOSTILE[0],))


def test_the_made_up_evaluation_fits_the_schema() -> None:
    pytest.importorskip("jsonschema").validate(make_evaluation(), schema("evaluation"))


def test_the_page_is_whole_and_says_the_numbers(pictures: Pictures) -> None:
    page = assert_self_contained(build_evaluation_page(make_evaluation(), pictures))
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "It names 30 of 40 faces as their labels do: 75.0 %" in text
    assert "Without the 4 faces that the training rows hold too: 75.0 %" in text
    assert "take happy for" in text and "(6 faces)" in text
    assert "surer" not in text and "5.0 pt less sure than it is right" in text
    assert "8.0 %, and 3.0 % after temperature scaling" in text
    assert "Best validation accuracy in epoch 3; training accuracy is 10.0 pt higher then" in text
    assert "On 40 training faces as they are it is right on 95.0 %" in text and "20.0 pt higher than on" in text
    assert len([a for t, a in page.elements if t == "span" and " m0 " in f" {a.get('class')} "]) == 5
    assert len([a for t, a in page.elements if t == "span" and " g0 " in f" {a.get('class')} "]) == 2 + 3
    assert len([a for t, a in page.elements if t == "span" and " f0 " in f" {a.get('class')} "]) == 2 * 4


def test_a_page_of_little_is_whole_too(pictures: Pictures) -> None:
    data = make_evaluation()
    data["model"] |= {"parameters": None, "macs": None}
    data["views"].pop("ten")
    data["leaks"] |= {"rows": None, "exact": None, "near": None, "without": None}
    data |= {"training_sample": None, "learning": None, "mistakes": [], "view_list": None}
    pytest.importorskip("jsonschema").validate(data, schema("evaluation"))
    page = assert_self_contained(build_evaluation_page(data, Pictures(pictures.face, notes=("No maps.",))))
    assert "learning" not in page.ids and "mistakes" not in page.ids and "No maps." in page.text


def test_heat_is_shown_by_colour() -> None:
    heat = np.zeros((2, 2), np.float32)
    heat[0, 0] = 1
    shown = overlay(np.full((2, 2), 100, np.uint8), heat).astype(int)
    assert shown[0, 0].sum() > 2 * shown[1, 1].sum()
    assert np.array_equal(shown[1, 1], shown[0, 1])


def test_p_is_mcnemars() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for b, c in ((3, 9), (40, 61), (0, 5), (7, 7)):
        expected = tables.mcnemar([[50, b], [c, 20]], exact=True).pvalue
        assert mcnemar(b, c) == pytest.approx(expected)
    assert mcnemar(0, 0) == 1


def _entry(name: str, right: list[int], row_hash: str = "ab" * 32) -> Entry:
    data = make_evaluation(name, len(right), row_hash)
    mask = np.zeros(N, bool)
    mask[right] = True
    return Entry(data, mask)


def test_models_are_ranked_on_the_same_faces_only() -> None:
    best, other = _entry("b|est", list(range(30))), _entry("other", list(range(25)) + [35, 36])
    apart = _entry("apart", list(range(40)), "cd" * 32)
    short = _entry("short", [0])
    short.data["model"] |= {"short_run": True, "epochs": 1, "seconds": None}  # type: ignore[index]
    del other.data["model"]["epochs"], other.data["model"]["seconds"]  # type: ignore[attr-defined]
    tables = rank([other, best, apart, short])
    assert [[row.name for row in table.rows] for table in tables] == [["b|est", "other", "short"], ["apart"]]
    first, second, third = tables[0].rows
    assert first.p_value is None and (second.better, second.worse) == (2, 5)
    assert second.p_value == pytest.approx(mcnemar(2, 5)) and third.worse == 29
    text = leaderboard_markdown(tables)
    assert "| b\\|est | 40\u00a0epochs, 1.4\u00a0h |" in text and "| other | – |" in text
    assert "| short | 1\u00a0epoch, short run |" in text and text.count("## ") == 2
    json.dumps(leaderboard_data(tables), allow_nan=False)
    assert_self_contained(leaderboard_page(tables, "today"))
    again = copy.deepcopy(best.data)
    assert len(rank([best, Entry(again, None)])[0].rows) == 1


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_pages_in_a_browser(pictures: Pictures, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    (tmp_path / "evaluation.html").write_text(build_evaluation_page(make_evaluation(), pictures), encoding="utf-8")
    (tmp_path / "leaderboard.html").write_text(
        leaderboard_page(rank([_entry("a", [1]), _entry("b", [2])]), "today"), encoding="utf-8"
    )
    heard: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for name in ("evaluation.html", "leaderboard.html"):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme)
                page.on("console", lambda message: heard.append(message.text))
                page.on("request", lambda request: heard.append(request.url))
                page.goto((tmp_path / name).as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") == 360
                axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
                assert [violation["id"] for violation in axe.run(page).response["violations"]] == []
        browser.close()
    allowed = ("file:", "data:")  # of files only the page itself, which has no neighbours
    assert [line for line in heard if not line.startswith(allowed)] == []
    assert sum(line.startswith("file:") for line in heard) == 4
