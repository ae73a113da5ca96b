"""What the gallery knows of a face is what the table says, and its command is one that a shell can be given."""

import shlex

import numpy as np
import pytest
from fergan.data.run_record.run import RunRecord
from fergan.data.run_record.settings import GenerateRecord
from fergan.reports.html.gallery import SCALE, command, gallery_data
from fergan.reports.html.selection import PER_LABEL, Selection
from fergan.reports.html.sprites import Cell, Sprites
from fergan.reports.statistics.differences.preparation import preparation_record, read_preparation
from fergan.reports.statistics.table import read_labels
from fergan.runtime.errors import DataError

from ..conftest import CLASSES, make_table


def test_the_data_is_that_of_the_table(settings: dict) -> None:
    table = read_labels(make_table(50))
    data = gallery_data(table, [3, 7, 40], Sprites({"seed0007.png": Cell(0, 1, 2)}), Sprites(), RunRecord.of(settings))
    assert data["seed"] == [3, 7, 40] and data["label"] == table.codes[[3, 7, 40]].tolist()
    assert np.array(data["p"]) / SCALE == pytest.approx(table.probabilities[[3, 7, 40]], abs=0.5 / SCALE)
    assert data["cell"] == [None, "face s0 c1 r2", None] and data["input"] == [None] * 3
    assert "--seeds 7 " in data["command"][1]


def test_the_command_names_every_setting_that_decides_the_pixels() -> None:
    made = GenerateRecord(
        network="my net;rm -rf ~", truncation_psi=-0.5, truncation_cutoff=8, noise_mode="random", class_index=0
    )
    words = shlex.split(command(made, 7, 0.25) or "")
    assert words[:4] == ["fergan", "generate", "--seeds", "7"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options["--network"] == "my net;rm -rf ~" and options["--psi"] == "0.25"
    assert (options["--psi-cutoff"], options["--noise-mode"], options["--class"]) == ("8", "random", "0")
    assert "--psi -0.5" in (command(made, 7) or "")
    assert command(None, 1) is None
    assert command(GenerateRecord(projected_w="w.npz", network="n"), 1) is None


def test_a_selection_of_a_large_run_is_the_first_of_each_label() -> None:
    table = read_labels(make_table(3000))
    chosen = Selection.of(table)
    assert not chosen.complete
    for k, rows in enumerate(chosen.by_label):
        assert rows == np.flatnonzero(table.codes == k)[:PER_LABEL].tolist()
    assert table.confidence[chosen.most[0]] == table.confidence.max()
    assert table.confidence[chosen.least[0]] == table.confidence.min()
    rows = chosen.rows(table)
    assert rows == sorted(set(rows)) and set(chosen.sample) <= set(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: None, "format"),
        (lambda r: {**r, "format": 9}, "format"),
        (lambda r: {**r, "model_sha256": "cd"}, "another classifier"),
        (lambda r: {**r, "faces": []}, "no faces"),
        (lambda r: {**r, "variants": [{**r["variants"][0], "codes": [0, 9, 0]}]}, "without a label for each"),
        (lambda r: {**r, "variants": [{**r["variants"][0], "codes": [0]}]}, "without a label for each"),
        (lambda r: {**r, "variants": ["x"]}, "without a label for each"),
    ],
)
def test_a_wrong_record_of_sensitivity_is_refused(change, message: str) -> None:
    variant = {"crop": "none", "filter": "f", "codes": [0, 1, 2], "missed": 0}
    record = preparation_record("ab", CLASSES, ["a", "b", "c"], [variant, {**variant, "codes": [0, 1, 1]}])
    read = read_preparation(record, CLASSES, "ab")
    assert read.largest == pytest.approx(1 / 3) and read.variants[0].change is None
    with pytest.raises(DataError, match=message):
        read_preparation(change(record), CLASSES, "ab")
