"""A page that is one file: its styles, script and data are inside, and its policy lets nothing else in.

The content security policy names the SHA-256 of each style sheet and of the script, so text that found its way into the
page could neither run nor load anything, even if it had not been escaped. The script gets its data from a JSON block,
which browsers never execute, and Trusted Types keep it from writing markup.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from .templating import FOLDER, render


def asset(name: str) -> str:
    """A style sheet or script of ours, from the folder of templates."""
    return (FOLDER / name).read_text(encoding="utf-8")


def render_document(
    template: str, *, styles: Sequence[str], scripts: Sequence[str] = (), data: Any = None, **context: object
) -> str:
    """Render a template that extends `base.html.j2`.

    Args:
        template: its file name.
        styles: style sheets, trusted; each becomes a `style` element.
        scripts: trusted; joined into one `script` element.
        data: plain JSON values for the script, in an element with the id `data`; foreign text in it is harmless.
        context: further names for the template; escaped unless marked as safe.
    """
    script = "\n".join(scripts)
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
