import json
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.reports.html.document import Report, write_report
from fergan.reports.html.selection import SHOW_ALL
from fergan.reports.pages.report import build_report
from fergan.reports.statistics.correction.prevalence import Validation, estimate_prevalence
from fergan.runtime.errors import DataError
from PIL import Image
from scipy.stats import binomtest, chi2

from ..conftest import CLASSES, make_table, noise_face
from ..markup import HOSTILE, Page, assert_self_contained


def build(table: pd.DataFrame, settings: dict, **options) -> Report:
    options.setdefault("load_face", noise_face)
    return build_report(table, settings=settings, created="2025-01-31T12:00:00+00:00", **options)


def test_the_numbers_are_those_of_the_table(settings: dict) -> None:
    table = make_table(300)
    data = build(table, settings).data
    plain = Counter(table["label"])
    assert data["n"] == 300 and data["counts"] == {name: plain[name] for name in CLASSES}
    for name in CLASSES:
        expected = binomtest(plain[name], 300).proportion_ci(0.95, method="wilson")
        share = data["shares"][name]
        assert share["share"] == plain[name] / 300
        assert (share["low"], share["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert data["confidence"]["mean"] == pytest.approx(table["confidence"].mean())
    assert data["confidence"]["uncertain"] == sum(value < 0.5 for value in table["confidence"])
    assert sum(data["confidence"]["histogram"]) == 300
    assert data["mean_probability"]["happy"] == pytest.approx(table["happy"].mean())
    assert data["settings"] == settings and data["versions"] == settings["versions"]


def test_the_page_says_the_same_as_the_json(settings: dict) -> None:
    report = build(make_table(300), settings)
    text = Page(report.html).text.replace("\xa0", " ")
    for name in CLASSES:
        share = report.data["shares"][name]
        row = f"{report.data['counts'][name]} · {100 * share['share']:.1f} %"
        assert row in text
        assert f"{100 * share['low']:.1f}–{100 * share['high']:.1f} %" in text


def test_the_page_is_whole_and_asks_for_nothing_outside_itself(settings: dict) -> None:
    assert_self_contained(build(make_table(120), settings).html)
    assert_self_contained(build(make_table(3), {}, load_face=None).html)


def test_hostile_text_stays_text(settings: dict, tmp_path: Path) -> None:
    classes = ("<b>happy</b>", '" onload="alert(1)', "</title><script>", "fear")
    table = make_table(len(HOSTILE), classes)
    table["face"] = pd.Series(HOSTILE, dtype=object)
    attack = "</style><script>alert(1)</script>"
    settings = {
        attack: attack,
        "run": attack,
        "generate": {attack: attack, "network": attack, "seeds": [attack], "nested": {"deep": {attack: [attack]}}},
        "classify": {"model": attack, "labels": list(classes), "crop": "<i>", "filter": {"x": "<i>"}},
        "versions": {"<script>": "<script>"},
        "odd": {"path": Path("/a<b"), "float": float("nan"), "array": np.arange(3), "bytes": b"<", "none": None},
    }
    skipped = pd.DataFrame({"face": HOSTILE, "reason": HOSTILE}, dtype=object)
    report = build(table, settings, skipped=skipped, title=attack)
    benign = build(make_table(len(HOSTILE)), {"run": "r", "odd": {"a": 1}}, skipped=skipped)
    page = assert_self_contained(report.html)
    assert page.tags <= Page(benign.html).tags
    assert page.scripts[1] == Page(benign.html).scripts[1]
    assert page.data["name"][:2] == HOSTILE[:2]
    assert page.data["classes"] == list(classes)
    assert '<script>alert("x")</script>.png' in page.text and "{{ 7 * 7 }}" in page.text
    assert "\u202e" not in report.html and "\x00" not in report.html
    paths = write_report(report, tmp_path)
    assert json.loads(paths[1].read_text(encoding="utf-8"))["skipped"][0]["face"] == HOSTILE[0]


def test_five_hundred_faces_of_noise_stay_under_five_megabytes(settings: dict) -> None:
    report = build(
        make_table(500),
        settings,
        load_face=lambda name: noise_face(name, 128),
        prepare=lambda face: np.asarray(Image.fromarray(face).convert("L").resize((48, 48), Image.Resampling.NEAREST)),
    )
    assert len(report.html.encode()) < 5_000_000
    assert report.html.count('role="img" aria-label="seed') >= 500 + 60


def test_a_large_run_is_sampled_and_says_so(settings: dict) -> None:
    table = make_table(4000)
    loaded = []

    def load(name: str) -> Image.Image:
        loaded.append(name)
        return Image.new("L", (48, 48))

    report = build(table, settings, load_face=load)
    assert len(loaded) == len(set(loaded)) <= SHOW_ALL
    assert "A sample: the first 60 of " in Page(report.html).text
    assert report.data["n"] == 4000 == sum(report.data["counts"].values())


def test_the_sample_is_the_first_seeds_whatever_the_order_of_the_table(settings: dict) -> None:
    table = make_table(200)
    shuffled = table.sample(frac=1, random_state=1)
    assert build(table, settings).html == build(shuffled, settings).html
    grid = build(shuffled, settings).html.split('class="grid sample"')[1].split("</section>")[0]
    assert re.findall(r'aria-label="(seed\d+)', grid) == [f"seed{i:04d}" for i in range(60)]


def test_the_page_is_the_same_whichever_face_is_read_first(settings: dict) -> None:
    table, last_is_read = make_table(20), threading.Event()

    def prepare(face: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(face).convert("L").resize((48, 48)))

    def late_first(name: str) -> Image.Image:
        if name == table["face"].iloc[0]:
            last_is_read.wait(timeout=1)
        if name == table["face"].iloc[-1]:
            last_is_read.set()
        return noise_face(name)

    plain = build(table, settings, prepare=prepare)
    assert build(table, settings, load_face=late_first, prepare=prepare).html == plain.html


def test_a_label_that_no_face_got_is_still_reported(settings: dict) -> None:
    table = make_table(100)
    assert "neutral" not in set(table["label"])
    report = build(table, settings)
    assert report.data["counts"]["neutral"] == 0 and report.data["confidence"]["mean_by_label"]["neutral"] is None
    assert "No face got this label; among endless faces up to 3.7" in Page(report.html).text
    assert "no face was labelled neutral" in Page(report.html).text


def test_one_face_is_a_report(settings: dict) -> None:
    report = build(make_table(1), settings)
    assert report.data["n"] == 1
    assert "one face says nothing about the generator" in Page(report.html).text


def test_faces_without_seeds_and_settings_keep_the_order_of_the_table() -> None:
    table = make_table(5).drop(columns="seed")
    table["face"] = ["e", "d", "c", "b", "a"]
    page = build(table, {})
    assert re.findall(r'aria-label="(\w): ', page.html)[:5] == ["e", "d", "c", "b", "a"]
    assert "in the order of the table" in Page(page.html).text and "No settings were recorded" in page.html
    half = make_table(5)
    half.loc[2, "seed"] = pd.NA
    assert "in the order of the table" in build(half, {}).html


def test_a_report_without_pictures(settings: dict) -> None:
    report = build(make_table(50), settings, load_face=None)
    assert "url(" not in report.html and "by-label" not in report.html and len(report.html) < 100_000


def test_a_picture_that_is_gone_is_said_and_the_face_still_counts(settings: dict) -> None:
    def load(name: str) -> Image.Image:
        raise FileNotFoundError(name)

    report = build(make_table(3), settings, load_face=load)
    assert report.data["n"] == 3 and report.data["unreadable_pictures"] == 3
    assert "3 pictures could not be shown" in Page(report.html).text


def test_a_table_with_several_psi_shows_what_truncation_does(settings: dict) -> None:
    table = make_table(90)
    table.insert(2, "psi", np.repeat([1.0, 0.5, 0.7], 30))
    report = build(table, settings)
    page = Page(report.html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert {"sweep", "h-sweep"} < set(ids)
    assert len(ids) == len(set(ids))
    parts = report.data["sweep"]["by_psi"]
    assert [part["psi"] for part in parts] == [0.5, 0.7, 1.0]
    for part in parts:
        labels = table.loc[table["psi"] == part["psi"], "label"]
        for name, share in part["shares"].items():
            k = int((labels == name).sum())
            low, high = binomtest(k, 30).proportion_ci(method="wilson")
            low = chi2.ppf(0.05, 2 * k) / 60 if k in (1, 2) else low  # Brown, Cai & DasGupta 2001
            assert (share["low"], share["high"]) == pytest.approx((low, high))
            assert f"{100 * k / 30:.1f}\N{NO-BREAK SPACE}%" in report.html
    assert "ψ 0.7" in page.text
    assert "intervals are too narrow, and the fit test refutes" in page.text

    table["psi"] = 0.7
    assert build(table, settings).data["sweep"] is None
    named = make_table(20, classes=("angry", "psi"))  # a class of that name is a class
    assert build(named, settings | {"classify": {"labels": ["angry", "psi"]}}).data["sweep"] is None


def test_skipped_files_are_counted_and_listed(settings: dict) -> None:
    skipped = pd.DataFrame({"face": [f"{i}.png" for i in range(150)], "reason": "truncated"})
    report = build(make_table(3), settings, skipped=skipped)
    assert report.data["n_skipped"] == len(report.data["skipped"]) == 150
    text = Page(report.html).text
    assert "150 files could not be judged" in text and "The first 100 are listed" in text


def test_corrected_shares_are_shown_when_there_are_validation_faces(settings: dict) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 40)
    p = rng.dirichlet(np.ones(7), 280) + 2 * np.eye(7)[labels]
    p /= p.sum(axis=1, keepdims=True)
    table = make_table(80)
    report = build(table, settings, validation=Validation("<b>PublicTest</b>", labels, p))
    expected = estimate_prevalence(table[list(CLASSES)].to_numpy(), labels, p, methods=("ACC",))["ACC"]
    got = report.data["corrected"]["methods"]["ACC"]
    assert [got[name]["share"] for name in CLASSES] == pytest.approx(expected.shares.tolist())
    assert "Validation faces: <b>PublicTest</b> (40 " in Page(report.html).text
    with pytest.raises(DataError, match="do not serve"):
        build(table, settings, validation=Validation("x", labels, p[:, :6]))


def test_a_class_without_validation_faces_leaves_the_raw_report_with_a_note(settings: dict) -> None:
    labels = np.repeat(np.arange(6), 40)
    report = build(make_table(80), settings, validation=Validation("PublicTest", labels, np.eye(7)[labels]))
    assert report.data["corrected"] is None and report.data["label_shift"] is None
    note = next(note for note in report.data["notes"] if "show no neutral" in note)
    assert note in Page(report.html).text and "Wilson" in report.html


def test_of_eight_classes_one_without_validation_faces_leaves_the_raw_report_with_a_note(settings: dict) -> None:
    classes, labels = (*CLASSES, "contempt"), np.repeat(np.arange(7), 40)
    settings["classify"]["labels"] = list(classes)
    report = build(make_table(80, classes), settings, validation=Validation("PublicTest", labels, np.eye(8)[labels]))
    assert report.data["corrected"] is None and report.data["label_shift"] is None
    assert len(report.data["shares"]) == 8 and any("show no contempt" in note for note in report.data["notes"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:0], "no faces"),
        (lambda t: t.drop(columns="confidence"), "no column 'confidence'"),
        (lambda t: t.drop(columns="face"), "no column 'face'"),
        (lambda t: t.drop(columns="fear"), "no column of probabilities for fear"),
        (lambda t: t.assign(confidence=[np.nan] + [0.5] * 9), r"seed0000.png has a confidence that is missing"),
        (lambda t: t.assign(confidence="high"), r"confidence .* \(and 9 more\)"),
        (lambda t: t.assign(fear=7.0), "seed0000.png has a probability"),
        (lambda t: t.assign(fear=np.minimum(1, t["fear"] + 0.5)), "do not sum to 1"),
        (lambda t: t.assign(label="bored"), "none of the classes"),
        (lambda t: t.assign(label=None), "none of the classes"),
    ],
)
def test_a_wrong_table_is_refused_with_the_first_wrong_face(settings: dict, change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(change(make_table(10)), settings)


def test_class_names_come_from_the_settings_or_from_the_columns(settings: dict) -> None:
    table = make_table(20).assign(entropy=0.3)
    assert build(table, settings).data["labels"] == list(CLASSES)
    assert build(table.drop(columns="entropy"), {}).data["labels"] == list(CLASSES)
    with pytest.raises(DataError, match="no class columns"):
        build(table[["face", "label", "confidence"]], {})


def test_files_are_written_whole_and_the_old_ones_survive_a_failure(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = build(make_table(3), settings)
    page, numbers = write_report(report, tmp_path)
    assert page.read_text(encoding="utf-8") == report.html
    assert json.loads(numbers.read_text(encoding="utf-8")) == report.data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(DataError, match="No space left on device"):
            write_report(Report("new", {"new": 1}), tmp_path)
    assert page.read_text(encoding="utf-8") == report.html
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    with pytest.raises(DataError, match="No such file"):
        write_report(report, tmp_path / "missing")


def test_the_report_imports_nothing_heavy() -> None:
    code = (
        "import sys, fergan.reports.pages.report; "
        "print([m for m in ('torch', 'keras', 'tensorflow', 'matplotlib', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
