"""What notebooks show: faces with captions, tables, whole reports; nothing that loads, nothing that runs."""

import re
import webbrowser
from pathlib import Path

import fergan
import numpy as np
import pytest
from fergan.reports import Report
from fergan.reports.statistics.table import LabelTable
from fergan.runtime.errors import UsageError
from PIL import Image

FACES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
P = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def test_faces_stand_beside_their_labels(tmp_path: Path) -> None:
    html = fergan.show(FACES, ["happy", "<b>sad</b>", "生气"])._repr_html_()
    assert html.count("<img") == 3 and "&lt;b&gt;sad&lt;/b&gt;" in html and "生气" in html
    assert not re.search(r"https?:|<script|<b>", html)
    said = fergan.show(FACES, P, classes=("happy", "sad"))._repr_html_().replace("\N{NO-BREAK SPACE}", " ")
    assert [re.search(rf"{text}</span>", said) is not None for text in ("happy 90 %", "sad 80 %", "happy 60 %")] == [
        True
    ] * 3
    path = tmp_path / "face.png"
    Image.fromarray(FACES[0]).save(path)
    assert fergan.show([path, Image.fromarray(FACES[1]), FACES[2, :, :, 0]])._repr_html_().count("<img") == 3
    assert fergan.show(FACES).save(tmp_path / "faces.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("faces", "options", "words"),
    [
        (FACES, {"labels": ["happy"]}, "3.faces and 1.label"),
        (FACES, {"labels": P}, "need as many names: classes=judge.labels"),
        (FACES.astype(np.float32), {}, "uint8 arrays, Pillow images or paths"),
        ([], {}, "1 to 512 faces, not 0"),
        (7, {}, "not int"),
    ],
)
def test_what_cannot_be_shown_says_why(faces: object, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fergan.show(faces, **options)


def test_tables_and_reports_show_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = LabelTable(("happy", "<sad>"), ("a", "b", "c"), None, P.argmax(axis=1), P.max(axis=1), P)
    html = table._repr_html_().replace("\N{NO-BREAK SPACE}", " ")
    assert "<th>happy</th><td>2</td><td>66.7 %</td>" in html and "&lt;sad&gt;" in html
    assert fergan.show(FACES, table)._repr_html_().count("<img") == 3
    report = Report('<p class="a">page & all</p>', {})
    assert 'srcdoc="&lt;p class=&#34;a&#34;&gt;page &amp; all&lt;/p&gt;"' in report._repr_html_()
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert report.open().read_text() == report.html
    assert "<img" in fergan.show(FACES).open().read_text()
    assert [Path(url).name for url in opened] == ["report.html", "faces.html"]
