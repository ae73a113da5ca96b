"""Faces that a judge selected: the report says so, and quotes no share as if they had been drawn at random."""

import json
from typing import Any

import numpy as np
from fergan.data.run_record.run import RunRecord
from fergan.reports.markdown import markdown
from fergan.reports.pages.report import build_report
from fergan.reports.report_json import schema
from fergan.reports.samples import Sample, compare_samples
from fergan.reports.statistics.correction.prevalence import Validation
from fergan.reports.statistics.table import read_labels
from jsonschema import Draft202012Validator

from ..conftest import make_table
from ..markup import HOSTILE, Page


def selected(settings: dict) -> dict[str, Any]:
    """Settings of a run in which the judge A kept 30 happy and 10 sad of 200 seeds."""
    limits = {"share": 0.8, "low": 0.7, "high": 0.9}
    return {
        **settings,
        "generate": {
            **settings["generate"],
            "want": "happy=30,sad=10",
            "judge": "judge-a",
            "second_judge": "judge-b",
            "min_confidence": 0.6,
        },
        "selected": {
            "seeds_seen": 200,
            "max_seeds": 200,
            "filled": True,
            "kept": 40,
            "by_class": False,
            "wanted": {"happy": 30, "sad": 10},
            "found": {"happy": 30, "sad": 10},
            "rates": {"happy": {"seen": 50, "n": 200, **limits}, "sad": {"seen": 10, "n": 200, **limits}},
            "agreement": {
                "happy": {"agree": 24, "n": 30, **limits},
                "sad": {"agree": 3, "n": 10, "share": 0.3, "low": 0.1, "high": 0.6},
            },
            "agreement_of_all": {"agree": 27, "n": 40, **limits},
            "judges_are_related": True,
        },
    }


def validation() -> Validation:
    labels = np.repeat(np.arange(7), 40)
    p = np.random.default_rng(0).dirichlet(np.ones(7), 280) + 2 * np.eye(7)[labels]
    return Validation("PublicTest", labels, p / p.sum(axis=1, keepdims=True))


def test_a_selected_set_quotes_no_corrected_share_anywhere(settings: dict) -> None:
    arguments: dict[str, Any] = {"load_face": None, "created": "2026-01-01", "validation": validation()}
    drawn = build_report(make_table(40), settings=settings, **arguments)
    chosen = build_report(make_table(40), settings=selected(settings), **arguments)
    assert drawn.data["corrected"] is not None
    for part in ("corrected", "posterior", "plan", "label_shift", "depth"):
        assert chosen.data[part] is None
    assert chosen.data["references"] == []
    assert not list(Draft202012Validator(schema()).iter_errors(json.loads(json.dumps(chosen.data))))
    assert chosen.data["selected"]["labels"]["sad"]["agreement"] == {"share": 0.3, "low": 0.1, "high": 0.6}
    for text in (Page(chosen.html).text, markdown(chosen.data)):
        plain = text.replace("\u00a0", " ").replace("\\", "")
        assert "judge-a judged the faces of 200 seeds and kept 30 happy and 10 sad" in plain
        assert "judge-b, which had no say, gives the same label to 80.0 % of them" in plain
        assert "the sad ones least often (30.0 %)" in plain
        assert "The two are related" in plain
        assert "No shares are corrected" in plain
        assert "(ACC)" not in plain
        assert "nobody selected" not in plain
    assert "(ACC)" in Page(drawn.html).text


def test_a_selection_that_tells_nothing_or_nonsense_is_still_one(settings: dict) -> None:
    for found in (None, 3, {}, {"wanted": dict.fromkeys(HOSTILE, 1)}):
        broken = {**selected(settings), "selected": found}
        broken["generate"]["judge"] = HOSTILE[0]
        report = build_report(
            make_table(40), settings=broken, load_face=None, created="2026-01-01", validation=validation()
        )
        assert report.data["corrected"] is None
        assert "<script>alert" not in report.html


def test_a_comparison_with_a_selected_set_is_warned_of_and_not_corrected(settings: dict) -> None:
    samples = [
        Sample(name, read_labels(make_table(40, seed=seed)), RunRecord.of(given), validation=validation())
        for seed, (name, given) in enumerate({"drawn": settings, "chosen": selected(settings)}.items())
    ]
    found = compare_samples(samples)
    assert found.corrected is None
    assert any("chosen were selected by judge-a" in text for text in found.warnings)
