"""The app: classifiers and a generator to play with in a browser, by Gradio. Nothing leaves the machine."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...data.faces import CROPS
from ...data.images import read_image, write_png
from ...runtime.errors import DataError, UsageError
from ...stylegan.directions import find_directions, read_direction
from ...stylegan.generator import MAX_SEED, load_generator
from ..progress import Tell, say_nothing
from .app_model import Studio, enlarged
from .panel import open_panel

EXAMPLES = 5
"""Generated faces that are offered as examples."""

_SHOWN = 384
"""Pixels of the side to which small pictures are enlarged."""

_STYLE = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
.face img { width: 100%; height: 100%; object-fit: contain; }
"""
_TITLE = "fergan: which facial expressions?"
_ABOUT = (
    "# fergan\nExpression classifiers say what a face *shows to them*, not what a person feels. "
    "Pictures stay on this computer."
)


_LAUNCH: dict[str, Any] = {
    "share": False,
    "inbrowser": False,
    "quiet": True,
    "prevent_thread_lock": True,
    "show_error": True,
    "max_file_size": 32 * 2**20,
    "footer_links": [],
    "run_history": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "enable_monitoring": False,
}
"""How the page is served: for this machine, and without anything that asks another one."""


def serve_app(
    models: Sequence[tuple[str | None, str | None]],
    *,
    network: str | None = None,
    direction: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
    ready: Callable[[str], None] = lambda url: None,
    tell: Tell = say_nothing,
) -> None:
    """Serve the app until Ctrl-C or SIGTERM.

    Args:
        models: (name, source) of each classifier, as for :func:`open_panel`.
        network: of the generator, as for :func:`load_generator`.
        direction: files or labels of bundled ones; none for all that come with the generator.
        host, port: where to listen.
        device: ``auto``, ``cpu`` or ``cuda``.
        ready: called with the app's address.
        tell: called with what a person should know of the models, a line each.

    Raises:
        UsageError: Gradio is not installed, the port is taken, or a name is unknown.
        DataError: a file cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="fergan-app-") as folder:
        _offline(folder)
        try:
            import gradio
        except ModuleNotFoundError as error:
            raise UsageError("the app needs Gradio; run: pip install 'fergan[app]'") from error
        edits = [read_direction(path) for path in find_directions(direction, network)]
        panel = open_panel(models, device)
        for remark in panel.remarks:
            tell(remark)
        studio = Studio(panel.judges, load_generator(network, device), edits)
        page = build_app(studio, Path(folder))
        stopped = threading.Event()
        old = signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
        try:
            page.launch(
                server_name=host,
                server_port=port,
                **_LAUNCH,
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=_STYLE,
            )
            ready(page.local_url)
            stopped.wait()
        except OSError as error:
            raise UsageError(f"--port {port}: cannot listen there ({error}); choose another") from error
        except KeyboardInterrupt:
            pass
        finally:
            page.close(verbose=False)
            signal.signal(signal.SIGTERM, old)


def _offline(folder: str) -> None:
    """Told to Gradio before it is imported: no telemetry, no version check, uploads in ``folder``."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def build_app(studio: Studio, folder: Path) -> Any:
    """The pages, not yet served: a ``gradio.Blocks``. The example faces go into ``folder``."""
    import gradio as gr

    setattr(gr.Image, "preprocess", _as_it_came)  # noqa: B010
    examples = []
    for seed in range(EXAMPLES):
        class_index = seed % studio.generator.c_dim if studio.generator.c_dim else None
        examples.append(str(folder / f"face{seed}.png"))
        write_png(examples[-1], studio.draw(seed, studio.psi, class_index))
    names = list(studio.classifiers)
    with gr.Blocks(title=_TITLE, analytics_enabled=False) as page:
        gr.Markdown(_ABOUT)
        for name in names:
            with gr.Tab(name):
                _one_model(gr, studio, name, examples)
        with gr.Tab("compare"):
            _compare(gr, studio, examples)
        with gr.Tab("generate"):
            _generate(gr, studio, page)
        with gr.Tab("webcam"):
            _webcam(gr, studio)
    return page


def _one_model(gr: Any, studio: Studio, name: str, examples: list[str]) -> None:
    with gr.Row():
        with gr.Column():
            picture, crop = _picture(gr, examples)
        with gr.Column():
            bars = _bars(gr, studio, name)
            seen = _seen(gr)
            gr.Markdown(_facts(studio, name))

    def judge(content: tuple[str, bytes] | None, crop: str) -> Any:
        if content is None:
            return None, None
        judged = _judged(gr, studio, name, _read(gr, content), crop)
        return judged.shares, enlarged(judged.seen, _SHOWN // 2)

    gr.on([picture.change, crop.change], judge, [picture, crop], [bars, seen], show_progress="hidden")


def _compare(gr: Any, studio: Studio, examples: list[str]) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            picture, crop = _picture(gr, examples)
        with gr.Column(scale=2), gr.Row():
            bars = [_bars(gr, studio, name) for name in studio.classifiers]

    def judge(content: tuple[str, bytes] | None, crop: str) -> Any:
        if content is None:
            shares: list[Any] = [None] * len(bars)
        else:
            read = _read(gr, content)
            shares = [_judged(gr, studio, name, read, crop).shares for name in studio.classifiers]
        return shares if len(shares) > 1 else shares[0]

    gr.on([picture.change, crop.change], judge, [picture, crop], bars, show_progress="hidden")


def _generate(gr: Any, studio: Studio, page: Any) -> None:
    generator, names = studio.generator, list(studio.classifiers)
    with gr.Row():
        with gr.Column():
            face = gr.Image(label=generator.name, interactive=False, height=_SHOWN, buttons=["download"])
        with gr.Column():
            bars = _bars(gr, studio, "Expressions")
            chosen = gr.Dropdown(names, value=names[0], label="Classifier", visible=len(names) > 1)
        with gr.Column(visible=bool(studio.directions)):
            edits = [_strength(gr, label, one.reach) for label, one in studio.directions.items()]
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED)
        psi = gr.Slider(
            -1, 1.5, studio.psi, step=0.05, label="Truncation psi", info="0: the average face; 1: all of them"
        )
        index = gr.Slider(0, max(generator.c_dim - 1, 1), 0, step=1, label="Class", visible=generator.c_dim > 0)
        crop = _crop(gr)
    with gr.Row():
        draw = gr.Button("Generate", variant="primary")
        following = gr.Button("Next seed")
        chance = gr.Button("Random seed")

    def show(
        seed: float | None, psi: float | None, index: float, crop: str, name: str, *strengths: float | None
    ) -> Any:
        try:
            moved = [strength or 0.0 for strength in strengths]
            picture = studio.draw(seed, psi, index if generator.c_dim else None, moved)
        except UsageError as error:
            raise _refused(gr, error) from error
        return enlarged(picture, _SHOWN), _judged(gr, studio, name, picture, crop).shares

    settings, shown = [seed, psi, index, crop, chosen, *edits], [face, bars]
    gr.on([page.load, draw.click], show, settings, shown)
    if edits:
        gr.on([edit.release for edit in edits], show, settings, shown, show_progress="hidden")
    gr.on([psi.release, index.release, crop.change, chosen.change, seed.submit], show, settings, shown)
    following.click(lambda seed: (int(seed or 0) + 1) % (MAX_SEED + 1), seed, seed).then(show, settings, shown)
    chance.click(lambda: secrets.randbelow(2**20), None, seed).then(show, settings, shown)


def _webcam(gr: Any, studio: Studio) -> None:
    names = list(studio.classifiers)
    with gr.Row():
        with gr.Column():
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                label="Camera",
                webcam_options=gr.WebcamOptions(constraints={"video": {"width": 640, "height": 480}}),
            )
            crop = _crop(gr, "detect")
        with gr.Column():
            bars = _bars(gr, studio, "Expressions")
            chosen = gr.Dropdown(names, value=names[0], label="Classifier", visible=len(names) > 1)
            seen = _seen(gr)

    def judge(content: tuple[str, bytes] | None, crop: str, name: str) -> Any:
        if content is None:
            return None, None
        judged = _judged(gr, studio, name, _read(gr, content), crop, quiet=True)
        return judged.shares, enlarged(judged.seen, _SHOWN // 2)

    camera.stream(judge, [camera, crop, chosen], [bars, seen], stream_every=0.2, show_progress="hidden")


# ---------------------------------------------------------------------------------------------------------------------
# Parts of the pages


def _picture(gr: Any, examples: list[str]) -> tuple[Any, Any]:
    picture = gr.Image(sources=["upload", "webcam", "clipboard"], label="Face", height=_SHOWN, elem_classes=["face"])
    gr.Examples(examples, picture, label="Generated faces")
    return picture, _crop(gr)


def _crop(gr: Any, value: str = "none") -> Any:
    return gr.Radio(
        list(CROPS),
        value=value,
        label="What is judged",
        info="none: the whole picture; ffhq: the face box of FFHQ-aligned pictures; detect: the largest face found",
    )


def _strength(gr: Any, label: str, reach: tuple[float, float]) -> Any:
    """A slider of one direction."""
    low, high = reach
    return gr.Slider(low, high, min(max(0.0, low), high), step=0.25, label=f"More {label}")


def _bars(gr: Any, studio: Studio, title: str) -> Any:
    return gr.Label(label=title, num_top_classes=max(len(known.labels) for known in studio.classifiers.values()))


def _seen(gr: Any) -> Any:
    return gr.Image(
        label="What the network saw", interactive=False, height=_SHOWN // 2, buttons=[], elem_classes=["face"]
    )


def _facts(studio: Studio, name: str) -> str:
    classifier = studio.classifiers[name]
    scores = classifier.card.get("scores")
    accuracy, split = (scores.get(key) for key in ("accuracy", "validation_split")) if scores else (None, None)
    known = f"Accuracy {accuracy:.1%} on {split}." if isinstance(accuracy, float) and split else "Accuracy unknown."
    height, width, channels = classifier.input_shape
    return f"{known} Input {width}×{height}, {'gray' if channels == 1 else 'RGB'}; sha256 `{classifier.sha256[:12]}`."


def _as_it_came(image: Any, payload: Any) -> Any:
    """The name and the contents (bytes) of an uploaded file, or of a frame of the camera, for fergan's own reader.

    In place of ``gr.Image.preprocess``, which decodes files unbounded. It stands in Gradio's class, since Gradio makes
    new objects of a component's class when a page changes it, and writes a stub file beside the source of others'.
    """
    if payload is None:
        return None
    if payload.url and payload.url.startswith("data:"):
        return "camera", base64.b64decode(payload.url.partition(",")[2])
    return payload.orig_name or "picture", Path(payload.path).read_bytes()


def _read(gr: Any, content: tuple[str, bytes]) -> Any:
    name, data = content
    try:
        return read_image(data, name=name)
    except DataError as error:
        raise _refused(gr, error) from error


def _judged(gr: Any, studio: Studio, name: str, picture: Any, crop: str, *, quiet: bool = False) -> Any:
    """:meth:`Studio.judge` with its errors and a missed face as messages on the page."""
    try:
        judged = studio.judge(name, picture, crop)
    except (DataError, UsageError) as error:
        raise _refused(gr, error) from error
    if judged.found is False and not quiet:
        gr.Info("No face was found, so the whole picture was judged.")
    return judged


def _refused(gr: Any, error: Exception) -> Exception:
    import html

    refused: Exception = gr.Error(html.escape(str(error)), print_exception=False)
    return refused
