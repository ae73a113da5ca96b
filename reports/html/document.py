"""A page that is one file: its styles, script and data are inside, and its policy lets nothing else in.

The content security policy names the SHA-256 of each style sheet and of the script, so text that found its way into the
page could neither run nor load anything, even if it had not been escaped. The script gets its data from a JSON block,
which browsers never execute, and Trusted Types keep it from writing markup.
"""

import base64
import hashlib
import json
import os
import tempfile
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...runtime.files import json_text, write_atomically, write_together
from .. import formatting


def asset(name: str) -> str:
    """A style sheet or script of ours, from the folder of templates."""
    return (FOLDER / name).read_text(encoding="utf-8")


def render_document(template: str, *assets: str, css: str = "", data: Any = None, **context: object) -> str:
    """Render a template that extends `base.html.j2`.

    Args:
        template: its file name.
        assets: our style sheets, each of which becomes a `style` element, and scripts, which become one.
        css: a further style sheet, trusted.
        data: plain JSON values for the script, in an element with the id `data`; foreign text in it is harmless.
        context: further names for the template; escaped unless marked as safe.
    """
    styles = [asset(name) for name in assets if name.endswith(".css")] + ([css] if css else [])
    script = "\n".join(asset(name) for name in assets if name.endswith(".js"))
    return str(
        render(
            template,
            styles=[Markup(style) for style in styles],
            script=Markup(script),
            data=Markup(embedded_json(data)),
            policy=_policy(styles, script),
            **context,
        )
    )


def embedded_json(data: Any) -> str:
    """JSON that is safe inside a `script` element: no `<`, `>` or `&`, and ASCII only."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(styles: Sequence[str], script: str) -> str:
    sheets = " ".join(_digest(style) for style in styles)
    code = _digest(script) if script else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src {sheets}; script-src {code}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


FOLDER = Path(__file__).parents[1] / "pages" / "templates"


@cache
def environment() -> Environment:
    """The shared environment: autoescape on, undefined names are errors, our number formats as filters."""
    env = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in ("count", "percent", "percent_range", "points", "plural", "printable", "listed"):
        env.filters[name if name != "count" else "number"] = getattr(formatting, name)
    return env


def render(template: str, **context: object) -> Markup:
    """Render one template; the result is marked as safe, so it can go into another template."""
    return Markup(environment().get_template(template).render(**context))


@dataclass(frozen=True)
class Report:
    """A finished report: the page as text, and the same numbers as plain JSON values.

    A notebook shows the page in a frame that keeps its styles, its policy and its script to itself.
    """

    html: str
    data: dict[str, Any]

    def _repr_html_(self) -> str:
        frame = Markup('<iframe srcdoc="{}" sandbox="allow-scripts" style="width:100%;height:720px;border:0"></iframe>')
        return str(frame.format(self.html))

    def open(self) -> Path:
        """Show the page in the browser; the path of the page, in the folder for temporary files."""
        return open_page(self.html, "report")


def open_page(page: str, name: str) -> Path:
    """Show a page in the browser; its path, in the folder for temporary files."""
    path = Path(tempfile.mkdtemp(prefix="fergan-")) / f"{name}.html"
    write_atomically(path, page.encode())
    webbrowser.open(path.as_uri())
    return path


def write_report(report: Report, folder: str | os.PathLike[str], stem: str = "report") -> tuple[Path, Path]:
    """Write `report.html` and `report.json` into an existing folder, and return their paths.

    A reader never sees half a file.

    Raises:
        DataError: the folder is missing or cannot be written to, or the disk is full; what was there before stays.
    """
    page, numbers = Path(folder) / f"{stem}.html", Path(folder) / f"{stem}.json"
    write_together({page: report.html, numbers: json_text(report.data)}, "the report")
    return page, numbers
