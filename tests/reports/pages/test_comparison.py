"""Several sets of faces on one page."""

from dataclasses import replace

import numpy as np
import pytest
from fergan.data.run_record.run import RunRecord
from fergan.data.run_record.settings import ClassifyRecord, GenerateRecord
from fergan.reports.markdown import comparison_markdown
from fergan.reports.pages.comparison import build_comparison
from fergan.reports.samples import Sample, compare_samples, split_by_psi
from fergan.reports.statistics.correction.prevalence import Validation
from fergan.reports.statistics.differences.comparison import PairedComparison
from fergan.reports.statistics.table import LabelTable, read_labels
from fergan.runtime.errors import DataError

from ..conftest import CLASSES, make_table, noise_face
from ..markup import HOSTILE, assert_self_contained
from ..simulated import ANSWERS, HAPPY_AND_NEUTRAL, LABELS, faces, labelled


def sample(name: str, n: int = 120, seed: int = 0, sha256: str = "ab", classes: tuple[str, ...] = CLASSES) -> Sample:
    record = RunRecord(generate=GenerateRecord(sha256=sha256), classify=ClassifyRecord(sha256="c", crop="none"))
    return Sample(name, read_labels(make_table(n, classes, seed)), record, noise_face)


def test_the_same_seeds_of_one_network_are_compared_face_by_face_and_others_are_not() -> None:
    a, b, other = sample("a"), sample("b", seed=1), sample("c", seed=2, sha256="cd")
    kinds = [type(pair.result) is PairedComparison for pair in compare_samples([a, b, other]).pairs]
    assert kinds == [True, False, False]
    paired = compare_samples([a, b]).pairs[0].result
    assert isinstance(paired, PairedComparison)
    assert paired.changed == (a.table.codes != b.table.codes).sum()
    fewer = compare_samples([a, sample("fewer", n=119, seed=1)]).pairs[0].result
    assert isinstance(fewer, PairedComparison) and fewer.n == 119
    assert "Compared on the 119\xa0faces that both sets hold." in fewer.notes
    assert not isinstance(compare_samples([a, sample("few", n=60)]).pairs[0].result, PairedComparison)


def test_the_same_seeds_drawn_in_other_classes_are_other_faces() -> None:
    a, same, other = (
        replace(one, record=RunRecord(generate=GenerateRecord(sha256="ab", classes=turns)))
        for one, turns in ((sample("a"), (3, 4)), (sample("same", seed=1), (3, 4)), (sample("other", seed=2), (3, 5)))
    )
    kinds = [isinstance(pair.result, PairedComparison) for pair in compare_samples([a, same, other]).pairs]
    assert kinds == [True, False, False]


def test_labels_are_matched_by_name() -> None:
    a, b = sample("a", classes=("x", "y", "z")), sample("b", sha256="cd", classes=("z", "x", "y"))
    compared = compare_samples([a, b])
    for name in ("x", "y", "z"):
        k = compared.classes.index(name)
        assert compared.shares[1].counts[k] == (b.table.codes == b.table.classes.index(name)).sum()
    with pytest.raises(DataError, match="only runs with the same labels"):
        compare_samples([a, sample("c")])
    with pytest.raises(DataError, match="2 to 6"):
        compare_samples([a])


def test_a_sweep_becomes_one_sample_for_each_truncation() -> None:
    whole = sample("run", n=90)
    table = make_table(90)
    table.insert(2, "psi", np.repeat([1.0, 0.5], 45))
    table["seed"] = np.tile(np.arange(45), 2)
    swept = Sample("run", read_labels(table, CLASSES), whole.record)
    parts = split_by_psi(swept)
    assert [part.name.replace("\xa0", " ") for part in parts] == ["run ψ 0.5", "run ψ 1"]
    assert [len(part.table) for part in parts] == [45, 45]
    assert parts[0].table.faces == swept.table.faces[45:]
    assert isinstance(compare_samples(parts).pairs[0].result, PairedComparison)
    assert split_by_psi(whole) == [whole]


def test_the_page_is_whole_and_its_numbers_are_those_of_the_tables() -> None:
    attack = HOSTILE[3]
    samples = [sample("a"), sample(attack, n=80, seed=3, sha256="cd"), sample("c", seed=4, sha256="ef")]
    report = build_comparison(samples, created="2025-01-31T12:00:00+00:00")
    page = assert_self_contained(report.html)
    assert attack in page.text and len(report.html) < 5_000_000
    assert [entry["n"] for entry in report.data["samples"]] == [120, 80, 120]
    assert len(report.data["pairs"]) == 3
    for entry, one in zip(report.data["samples"], samples, strict=True):
        assert list(entry["counts"].values()) == np.bincount(one.table.codes, minlength=7).tolist()
    distance = report.data["pairs"][0]["total_variation"]["value"]
    shares = [np.bincount(one.table.codes, minlength=7) / len(one.table) for one in samples]
    assert distance == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    assert f"{distance:.3f}" in page.text
    assert "\\</script\\>" in comparison_markdown(report.data)


def test_runs_that_were_judged_differently_come_with_a_warning() -> None:
    a, b = sample("a"), sample("b", sha256="cd")
    b = replace(b, record=replace(b.record, classify=ClassifyRecord(sha256="c", crop="ffhq")))
    assert "different crops" in compare_samples([a, b]).warnings[0]
    b = replace(b, record=replace(b.record, classify=ClassifyRecord(sha256="c", crop="none", other={"size": 64})))
    assert "different input sizes" in compare_samples([a, b]).warnings[0]


def by_answers(name: str, p: np.ndarray, validation: Validation) -> Sample:
    table = LabelTable(CLASSES, tuple(f"{i}.png" for i in range(len(p))), None, p.argmax(axis=1), p.max(axis=1), p)
    return Sample(name, table, RunRecord(), None, validation)


def test_refuted_corrections_are_struck_and_left_out_of_the_chart() -> None:
    """Two bare runs, whose labels no shares explain, beside one whose labels are explained."""
    rng, public = np.random.default_rng(0), Validation("PublicTest", LABELS, ANSWERS)
    bare = [1, 0, 0, 318, 16, 0, 165]
    samples = [by_answers(name, labelled(bare, rng), public) for name in ("a", "b")]
    made = build_comparison(samples, created="x")
    page, entries = assert_self_contained(made.html), made.data["samples"]
    assert [entry["label_shift"]["verdict"] for entry in entries] == ["refuted", "refuted"]
    assert all("ACC" in entry["doubts"] for entry in entries)
    happy = entries[0]["corrected"]["ACC"]["happy"]
    assert 0.62 < happy["share"] < 0.70 and f"{100 * happy['share']:.1f}" in page.text
    assert [tag for tag, _ in page.elements].count("s") == 2 * 7, "each corrected share is struck"
    assert "corrected-t" not in page.ids and page.text.count("does not stand") == 2
    assert "The labels of a and b refute a correction" in page.text and "a and b refute" in comparison_markdown(
        made.data
    )

    stands = by_answers("c", faces(HAPPY_AND_NEUTRAL, 500, rng), public)
    made = build_comparison([*samples, stands], created="x")
    page = assert_self_contained(made.html)
    assert made.data["samples"][2]["label_shift"]["verdict"] == "holds"
    chart = made.html.split('id="corrected-d">')[1].split("</svg>\n</figure>")[0]
    assert "c: " in chart and "a: " not in chart and 'class="k2"' in chart and 'class="k0"' not in chart
    assert [tag for tag, _ in page.elements].count("s") == 2 * 7


def test_an_expression_without_validation_faces_leaves_raw_shares_and_a_note() -> None:
    rng, lacking = np.random.default_rng(0), LABELS != 1
    public = Validation("PublicTest", LABELS[lacking], ANSWERS[lacking])
    compared = compare_samples([by_answers(name, faces(HAPPY_AND_NEUTRAL, 60, rng), public) for name in ("a", "b")])
    assert compared.corrected is None and "show no disgust" in compared.warnings[0]


def test_labels_in_another_order_are_corrected_too_and_a_run_that_cannot_be_says_so() -> None:
    rng, public = np.random.default_rng(0), Validation("PublicTest", LABELS, ANSWERS)
    a = by_answers("a", faces(HAPPY_AND_NEUTRAL, 60, rng), public)
    back = a.table.probabilities[:, ::-1]
    turned = replace(a.table, classes=CLASSES[::-1], codes=6 - a.table.codes, probabilities=back)
    b = Sample("b", turned, RunRecord(), None, Validation("PublicTest", 6 - LABELS, ANSWERS[:, ::-1]))
    found = compare_samples([a, b]).corrected
    assert found is not None
    assert found[1].prevalence["ACC"].shares == pytest.approx(found[0].prevalence["ACC"].shares)
    without = compare_samples([a, replace(b, validation=None)])
    assert without.corrected is None and "b came without labelled faces" in without.warnings[0]
