"""report.json holds to the schema that it is published with, whatever went into it."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fergan.reports.markdown import markdown
from fergan.reports.pages.report import build_report
from fergan.reports.report_json import schema
from fergan.reports.statistics.correction.prevalence import Validation
from fergan.reports.statistics.differences.preparation import preparation_record, read_preparation
from fergan.reports.statistics.label_audit import prediction_powered, stratified_sample
from fergan.reports.statistics.table import read_labels
from jsonschema import Draft202012Validator

from .conftest import CLASSES, make_table
from .markup import HOSTILE, assert_self_contained


def validation() -> Validation:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 40)
    p = rng.dirichlet(np.ones(7), 280) + 2 * np.eye(7)[labels]
    return Validation("PublicTest", labels, p / p.sum(axis=1, keepdims=True))


def everything(settings: dict) -> dict[str, Any]:
    """Arguments for a report that has every section."""
    table = make_table(90)
    table.insert(2, "psi", np.repeat([1.0, 0.5, 0.7], 30))
    checked = read_labels(table)
    design = stratified_sample(checked, 40)
    codes = checked.codes[:20]
    record = preparation_record(
        "ab",
        CLASSES,
        [f"{i}" for i in range(20)],
        [
            {"crop": "none", "filter": "bicubic", "codes": codes.tolist(), "missed": 0},
            {"crop": "detect", "filter": "bicubic", "codes": np.roll(codes, 1).tolist(), "missed": 3},
        ],
    )
    return {
        "labels": table,
        "settings": settings,
        "validation": validation(),
        "audit": prediction_powered(checked, design, checked.codes[design.rows]),
        "preparation": read_preparation(json.loads(json.dumps(record)), CLASSES, "ab"),
        "skipped": pd.DataFrame({"face": HOSTILE, "reason": HOSTILE}, dtype=object),
    }


def check(data: dict[str, Any]) -> None:
    errors = list(Draft202012Validator(schema()).iter_errors(json.loads(json.dumps(data))))
    assert not errors, [f"{list(error.path)}: {error.message[:200]}" for error in errors]


def test_the_schema_is_one_and_refuses_other_things(settings: dict) -> None:
    Draft202012Validator.check_schema(schema())
    data = build_report(make_table(5), settings=settings, load_face=None, created="x").data
    check(data)
    for key in data:
        with pytest.raises(AssertionError):
            check({name: value for name, value in data.items() if name != key})
    with pytest.raises(AssertionError):
        check({**data, "shares": {"happy": {"share": 58.0, "low": 0.5, "high": 0.6}}})


def test_a_report_with_everything_holds_to_the_schema_and_shows_it(settings: dict) -> None:
    report = build_report(**everything(settings), load_face=None, created="x")
    check(report.data)
    page = assert_self_contained(report.html)
    for ident in ("sweep", "estimates-t", "references", "preparation", "quality", "provenance"):
        assert ident in page.ids
    assert "By people" in page.text and "detect, bicubic (3 not found)" in page.text
    changed = report.data["preparation"]["variants"][1]["change"]["changed"]
    assert f"{changed} ({100 * changed / 20:.1f} %)" in page.text
    assert report.data["audit"]["answered"] == 40
    assert report.data["audit"]["agreement"] == pytest.approx(1)


def test_hostile_names_hold_to_the_schema(settings: dict) -> None:
    classes = ("<b>happy</b>", "a|b\n# c", "</title><script>", "__proto__")
    table = make_table(8, classes)
    check(build_report(table, settings={"run": HOSTILE[0]}, load_face=None, created=HOSTILE[3]).data)


def test_markdown_has_the_numbers_and_is_not_broken_by_names(settings: dict) -> None:
    classes = ("<b>happy</b>", "a|b\n# c", "`sad`", "[x](javascript:0)")
    table = make_table(60, classes)
    data = build_report(table, settings={"run": "a*b_c"}, load_face=None, created="2025").data
    lines = markdown(data).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "\\<b\\>happy" in line]
    assert rows and f"| {data['counts']['<b>happy</b>']} |" in rows[0]
    assert "a\\*b\\_c" in lines[2]
    table_lines = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table_lines[:6]} == {5}
    assert not any(line.startswith("# c") for line in lines) and "[x](" not in "\n".join(lines)
    text = markdown(build_report(**everything(settings), load_face=None, created="x").data)
    for part in ("Corrected (ACC)", "By people", "| Crop | Filter |", "psi 0.5", "files could not be judged"):
        assert part in text


def test_a_judge_that_failed_is_told_where_no_other_is_left(settings: dict) -> None:
    made = build_report(make_table(5), settings=settings, load_face=None, created="x", failed={"mini": "no numbers"})
    check(made.data)
    assert made.data["judges"] is None and made.data["failed_judges"] == {"mini": "no numbers"}


def test_our_sentences_are_whole_in_markdown(settings: dict) -> None:
    data = build_report(make_table(5), settings=settings, load_face=None, created="x").data
    names = ", ".join(f"judge {number} says happy" for number in range(40))
    assert names in markdown({**data, "notes": [names]})
