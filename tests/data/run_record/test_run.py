"""What is written to run.json is what is read from it, and what somebody else put there is refused or left out."""

import json
from pathlib import Path
from typing import Any

import pytest
from fergan.data.run_record.run import Agreement, LabelsRecord, Rate, RunRecord, SelectedRecord, read_run, write_run
from fergan.data.run_record.settings import ClassifyRecord, GenerateRecord
from fergan.runtime.errors import DataError

SELECTED = SelectedRecord(
    seeds_seen=9,
    max_seeds=20,
    by_class=False,
    filled=False,
    kept=1,
    wanted={"happy": 2},
    found={"happy": 1},
    rates={"happy": Rate(1, 9, 1 / 9, 0.02, 0.44)},
    agreement={"happy": Agreement(1, 1, 1.0, 0.2, 1.0)},
    agreement_of_all=Agreement(0, 0, None, None, None),
    judges_are_related=True,
)


def read(path: Path) -> RunRecord:
    record = read_run(path, "delete it", "update")
    assert record is not None
    return record


def test_entries_come_back_as_they_were_written_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    made = GenerateRecord(network="n", seeds="0-3", n=4, classes=(1, 2), other={"later": [1]})
    record = RunRecord.of({"format": 1, "run": "first", "unknown": {"x": 1}}).changed(
        generate=made, selected=SELECTED, labels=LabelsRecord(n=4, counts={"happy": 4})
    )
    write_run(tmp_path / "run.json", record)
    found = read(tmp_path / "run.json")
    assert list(json.loads((tmp_path / "run.json").read_text())) == [
        *("format", "run", "unknown", "generate", "selected", "labels")
    ]
    assert found == record
    assert (found.run, found.generate, found.selected) == ("first", made, SELECTED)
    assert found.values["selected"]["agreement_of_all"] == {
        "agree": 0,
        "n": 0,
        "share": None,
        "low": None,
        "high": None,
    }
    assert found.values["labels"] == {"n": 4, "skipped": 0, "parts": 0, "counts": {"happy": 4}}
    assert "labels" not in found.changed(labels=None).values


def test_a_further_judge_has_entries_of_its_own() -> None:
    first, second = ClassifyRecord(model="a"), ClassifyRecord(model="b")
    record = RunRecord.of({}).changed(classify=first, failed="why").changed("b", classify=second)
    assert record.values["judges"] == {"b": {"classify": {"model": "b"}}}
    assert (record.classify, record.of_judge("b").classify, record.of_judge("b").failed) == (first, second, None)
    assert record.changed("b", classify=None).values["judges"] == {"b": {}}


def test_runs_of_earlier_versions_tell_how_their_faces_were_prepared(tmp_path: Path) -> None:
    for crop, version, no_face in (("ffhq", 2, None), ("detect", 1, "whole")):
        (tmp_path / "run.json").write_text(json.dumps({"format": 1, "classify": {"crop": crop}}))
        judged = read(tmp_path / "run.json").classify
        assert judged == ClassifyRecord(crop=crop, no_face=no_face, other={"preparation_version": version})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "format null"),
        ({"format": 2}, "format 2.*update"),
        ({"format": 1, "judges": [1]}, "judges in it are damaged"),
        ({"format": 1, "judges": {"a": 1}}, "judges in it are damaged"),
    ],
)
def test_another_format_and_damage_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    assert read_run(tmp_path / "run.json", "delete it", "update") is None
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=message):
        read(tmp_path / "run.json")


@pytest.mark.parametrize("key", ["seeds", "n", "psi_sweep", "truncation_psi", "class", "classes"])
def test_a_value_of_the_wrong_type_is_named_or_left_out(key: str) -> None:
    for value in ({}, True, [], ["a", 1], float("nan")):
        values = {"network": "n", key: value}
        with pytest.raises(DataError, match=f"setting {key} of 'generate'"):
            GenerateRecord.from_json(values)
        made = RunRecord.of({"generate": values}).generate
        assert made is not None
        assert made == GenerateRecord(network="n", other={key: value})


@pytest.mark.parametrize("change", [{"wanted": {"happy": 2, "sad": 1}}, {"kept": "1"}, {"rates": {"happy": {"n": 1}}}])
def test_a_search_that_does_not_say_all_is_none(change: dict[str, Any]) -> None:
    values = SELECTED.to_json()
    assert RunRecord.of({"selected": values}).selected == SELECTED
    assert RunRecord.of({"selected": {**values, **change}}).selected is None
    assert RunRecord.of({"selected": 3, "judges": 3, "timings": {"run_seconds": "1"}}) == RunRecord(
        values={"selected": 3, "judges": 3, "timings": {"run_seconds": "1"}}
    )
