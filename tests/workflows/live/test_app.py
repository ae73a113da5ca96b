"""The app: its functions, and its pages in a real browser, driven as a person would, with nothing but this machine."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from fergan.classify.bundled import WEIGHTS
from fergan.classify.classifier import load_classifier
from fergan.data.faces import prepare_faces
from fergan.data.images import read_image
from fergan.runtime.errors import DataError, UsageError
from fergan.stylegan.directions import Direction
from fergan.stylegan.generator import load_generator
from fergan.workflows.live.app_model import Studio, enlarged
from fergan.workflows.live.panel import open_panel
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(
        open_panel([(None, "fernet"), ("twin", str(WEIGHTS / "fernet.keras"))], "cpu").judges,
        load_generator("dcgan-fer2013-48", "cpu"),
    )


def test_a_picture_becomes_probabilities_by_label(studio: Studio) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
    judged = studio.judge("twin", picture, "ffhq")
    expected = load_classifier("fernet", "cpu").predict(prepare_faces([picture], "ffhq"))[0]
    assert list(judged.shares) == list(load_classifier("fernet", "cpu").labels)
    assert np.array_equal(list(judged.shares.values()), expected.astype(float))
    assert judged.found is None
    assert studio.judge("fernet", picture, "detect").found is False


def test_a_seed_becomes_a_face(studio: Studio) -> None:
    assert np.array_equal(studio.draw(5.0, 0.7), studio.generator.generate([5], truncation_psi=0.7)[0])
    for seed in (None, -1, 2**32, 1.5):
        with pytest.raises(UsageError, match="integer from 0"):
            studio.draw(seed, 1.0)
    assert enlarged(studio.draw(0, 1.0), 384).shape == (384, 384, 3)


def test_a_face_is_moved_along_the_directions(studio: Studio) -> None:
    generator, random = studio.generator, np.random.default_rng(0)
    vectors = random.standard_normal((2, generator.w_dim)).astype(np.float32)
    one, other = (
        Direction(vector, label, generator.name, generator.sha256, "fernet", "", (0.0, 3.0), about={})
        for vector, label in zip(vectors, ("happy", "sad"), strict=True)
    )
    moving = Studio(studio.classifiers, generator, [one, other])
    styles = generator.styles([5], 0.7) + np.float32(1.5) * vectors[1]
    assert np.array_equal(moving.draw(5, 0.7, None, [0, 1.5]), next(generator.draw(styles)))
    assert np.array_equal(moving.draw(5, 0.7, None, [0, 0]), studio.draw(5, 0.7))
    with pytest.raises(UsageError, match="leads to happy too"):
        Studio(studio.classifiers, generator, [one, one])
    with pytest.raises(DataError, match="means nothing to"):
        Studio(studio.classifiers, generator, [replace(one, network_sha256="0")])


def test_uploads_that_are_no_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="note.png"):
        read_image(b"not a picture", name="note.png")
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    with pytest.raises(DataError, match="bomb.png: 9000 x 9000 pixels"):
        read_image(bomb.getvalue(), name="bomb.png")


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two models are called 'fernet'"):
        open_panel([(None, "fernet"), (None, str(WEIGHTS / "fernet.keras"))], "cpu")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app with two models, on a free port; Ctrl-C must end it cleanly and leave no file behind."""
    pytest.importorskip("gradio")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = tmp_path_factory.mktemp("temporary")
    twin = f"twin={WEIGHTS / 'fernet.keras'}"
    command = [sys.executable, "-m", "fergan", "app", "--network", "dcgan-fer2013-48", "--port", str(port)]
    running = subprocess.Popen(
        [*command, "--model", "fernet", "--model", twin],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    line = running.stdout.readline()
    assert f"http://127.0.0.1:{port}" in line, running.communicate(timeout=10)
    yield f"http://127.0.0.1:{port}/"
    running.send_signal(signal.SIGINT)
    out, complaints = running.communicate(timeout=20)
    assert (running.returncode, out) == (0, "") and "Traceback" not in complaints, complaints
    assert not list(temporary.glob("fergan-app-*"))


@pytest.fixture
def page(address: str) -> Iterator[object]:
    """The app's page, which must ask nobody else for anything and have nothing to complain about."""
    playwright = pytest.importorskip("playwright.sync_api")
    heard: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *CAMERA])
        context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
        opened = context.new_page()
        opened.on("console", lambda said: said.type == "error" and heard.append(said.text))
        opened.on("pageerror", lambda error: heard.append(str(error)))
        own = (address, "data:", "blob:")
        opened.on("request", lambda request: request.url.startswith(own) or heard.append(request.url))
        opened.goto(address)
        opened.get_by_role("tab", name="fernet").wait_for()
        yield opened
        browser.close()
    assert heard == []


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _upload(page, name: str, content: bytes) -> None:
    """Into the tab that is shown."""
    chooser = page.locator("[role=tabpanel]:visible input[type=file]").first
    chooser.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def _shown_labels(page, expected: list[str]) -> None:
    """Wait until the headings of the bars that are shown are these."""
    playwright = pytest.importorskip("playwright.sync_api")
    headings = page.locator("[role=tabpanel]:visible [data-testid=label-output-value]")
    playwright.expect(headings).to_have_text(expected)


def test_a_person_can_use_every_tab(page, studio: Studio) -> None:
    def top(picture: np.ndarray) -> str:
        shares = studio.judge("fernet", picture).shares
        return max(shares, key=lambda label: shares[label])

    face = studio.draw(3, 1.0)
    _upload(page, "face.png", _png(face[..., 0]))
    _shown_labels(page, [top(face)])
    page.locator("[role=tabpanel]:visible .gallery-item").nth(1).click()
    _shown_labels(page, [top(studio.draw(1, studio.psi)[..., 0])])
    page.get_by_role("tab", name="compare").click()
    _upload(page, "face.png", _png(face[..., 0]))
    _shown_labels(page, [top(face), top(face)])
    page.get_by_role("tab", name="generate").click()
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Next seed").click()
    _shown_labels(page, [top(studio.draw(4, studio.psi))])
    assert page.get_by_label("Seed").input_value() == "4"
    _film(page)


def _film(page) -> None:
    """Let the camera run until a face is judged; once in a while Gradio's stream does not start, so start it twice."""
    playwright = pytest.importorskip("playwright.sync_api")
    page.get_by_role("tab", name="webcam").click()
    page.locator("[role=tabpanel]:visible").get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('video')].some(film => film.videoWidth > 0)")
    button = page.locator("button[aria-label='capture photo'], button[aria-label='start recording']").first
    shown = page.locator("[role=tabpanel]:visible [data-testid=label-output-value]")
    button.click()
    try:
        shown.wait_for(timeout=20_000)
    except playwright.TimeoutError:
        button.click()
        button.click()
        shown.wait_for()


def test_a_file_that_is_no_picture_is_explained_on_the_page(page) -> None:
    _upload(page, "notes.png", b"not a picture")
    page.get_by_text("notes.png: is not a readable PNG").first.wait_for()
