"""The pages in a real browser: they work by mouse and by keyboard, ask for nothing, and axe finds nothing to mend.

Skipped where there is no Playwright or no Chromium: pip install '.[browser]', and Debian's package chromium.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fergan.data.run_record.run import RunRecord
from fergan.reports.pages.comparison import build_comparison
from fergan.reports.pages.label_audit import build_audit_page
from fergan.reports.pages.report import build_report
from fergan.reports.samples import Sample
from fergan.reports.statistics.correction.prevalence import Validation
from fergan.reports.statistics.table import read_labels
from PIL import Image

from ..conftest import CLASSES, make_table, noise_face
from ..markup import HOSTILE

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three pages that there are, with hostile names in them."""
    folder = tmp_path_factory.mktemp("pages")
    table = make_table(60)
    table["face"] = pd.Series(HOSTILE + [f"seed{i:04d}.png" for i in range(len(HOSTILE), 60)], dtype=object)
    generate = {"network": "dcgan", "sha256": "ab", "truncation_psi": 0.7, "noise_mode": "const"}
    settings = {"run": HOSTILE[0], "generate": generate, "classify": {"labels": list(CLASSES)}}
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), 20)
    p = rng.dirichlet(np.ones(7), 140) + 2 * np.eye(7)[labels]
    report = build_report(
        table,
        settings=settings,
        load_face=noise_face,
        prepare=lambda face: np.asarray(Image.fromarray(face).convert("L").resize((48, 48))),
        validation=Validation("PublicTest", labels, p / p.sum(axis=1, keepdims=True)),
        created="2025-01-31T12:00:00+00:00",
    )
    (folder / "report.html").write_text(report.html, encoding="utf-8")
    checked = read_labels(table, CLASSES)
    records = {"a": RunRecord.of(settings), HOSTILE[2]: RunRecord()}
    both = [Sample(name, checked, record, noise_face) for name, record in records.items()]
    (folder / "compare.html").write_text(build_comparison(both, created="x").html, encoding="utf-8")
    audit = build_audit_page(
        run="r", digest="d", classes=CLASSES, faces=HOSTILE, pictures=[noise_face(name) for name in HOSTILE]
    )
    (folder / "audit.html").write_text(audit, encoding="utf-8")
    return folder


@pytest.fixture
def show(browser: object, pages: Path) -> Iterator[Callable]:
    """``show("report.html", width=360)`` opens a page; in the end it must not have complained or asked for anything."""
    heard: list[str] = []
    contexts = []

    def opened(name: str, width: int = 1280, scheme: str = "light", scripts: bool = True):
        context = browser.new_context(  # type: ignore[attr-defined]
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        address = (pages / name).as_uri()
        # the page itself is the one request that there may be
        page.on("request", lambda r: r.url == address or r.url.startswith("data:") or heard.append(r.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert heard == []


def test_faces_are_filtered_and_sorted(show: Callable) -> None:
    page, table = show("report.html"), make_table(60)
    label = table["label"].value_counts().index[0]
    page.select_option("#by-label", label=label)
    assert page.locator("#flat .tile").count() == (table["label"] == label).sum()
    assert page.locator("#groups").is_hidden()
    page.select_option("#by-label", "")
    page.select_option("#order", "unsure")
    page.fill("#high", "70")
    percents = np.round(100 * table["confidence"])
    assert page.locator("#tally").inner_text() == f"{(percents <= 70).sum()} of 60 faces"
    first = int(page.locator("#flat .tile").first.get_attribute("data-face"))
    assert first == table["confidence"].idxmin()
    page.select_option("#order", "p2")
    page.fill("#high", "100")
    assert int(page.locator("#flat .tile").first.get_attribute("data-face")) == table["fear"].idxmax()
    page.click("#tools button[type=reset]")
    page.locator("#groups").wait_for()
    assert page.locator("#flat").is_hidden()


def test_a_face_opens_by_keyboard_and_tells_all(show: Callable) -> None:
    page, table = show("report.html"), make_table(60)
    tiles = page.locator(".grid.sample .tile")
    tiles.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#face-name").inner_text() == "Seed 21"
    row = table.iloc[21]
    bars = page.locator("#face-bars tr").all_inner_texts()
    assert len(bars) == 7 and bars[0].startswith(row["label"])
    assert f"{100 * row['confidence']:.1f}\N{NO-BREAK SPACE}%" in bars[0]
    expected = "fergan generate --seeds 21 --network dcgan --psi 0.7 --noise-mode const --run seed21"
    assert page.locator("#face-command").inner_text() == expected
    assert page.locator("#face-input").bounding_box()["width"] > 40
    page.keyboard.press("ArrowRight")
    assert page.locator("#face-name").inner_text() == "Seed 22"
    page.keyboard.press("Escape")
    assert page.locator("#face").is_hidden()
    assert page.evaluate("document.activeElement.dataset.face") == "22"


def test_the_theme_is_that_of_the_system_until_the_reader_chooses(show: Callable) -> None:
    def ground(page) -> int:
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0])

    assert ground(show("report.html")) > 200
    page = show("report.html", scheme="dark")
    assert ground(page) < 60
    page.click("#theme")
    assert ground(page) > 200
    page.reload()
    assert ground(page) > 200


@pytest.mark.parametrize("name", ["report.html", "compare.html", "audit.html"])
def test_a_phone_needs_no_sideways_scrolling(show: Callable, name: str) -> None:
    page = show(name, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_without_scripts_the_results_are_there(show: Callable) -> None:
    page = show("report.html", scripts=False)
    assert page.locator("#groups .tile .face").first.is_visible()
    assert page.locator("svg.chart").first.is_visible() and page.locator("#numbers table").first.is_visible()
    assert page.locator("#tools").is_hidden() and page.locator("#theme").is_hidden()


def test_labels_are_given_by_keyboard_kept_and_saved(show: Callable, tmp_path: Path) -> None:
    page = show("audit.html")
    for key in ("4", "7", "0", "ArrowLeft", "ArrowLeft", "1"):
        page.keyboard.press(key)
    page.reload()
    assert page.locator("#state").inner_text().startswith("Face 4 of 10; 3 done")
    with page.expect_download() as download:
        page.click("#csv")
    saved = tmp_path / "answers.csv"
    download.value.save_as(saved)
    from fergan.workflows.steps.label_audit import _read_answers

    answers = _read_answers(saved)
    assert list(answers.values()) == ["happy", "angry", False] + [None] * 7
    assert list(answers)[:6] == HOSTILE[:6]


@pytest.mark.parametrize("name", ["report.html", "compare.html", "audit.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(show: Callable, name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = show(name, scheme=scheme)
    if name == "report.html":
        page.locator(".grid.sample .tile").nth(12).click()
        assert [violation["id"] for violation in axe.run(page).response["violations"]] == []
        page.keyboard.press("Escape")
        page.select_option("#order", "sure")
    assert [violation["id"] for violation in axe.run(page).response["violations"]] == []
