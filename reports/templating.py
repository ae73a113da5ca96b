"""The Jinja2 environment of the report: everything is escaped unless it is marked as ours."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import formatting

FOLDER = Path(__file__).parent / "templates"


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
