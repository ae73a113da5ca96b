"""Pages of the site that are made from the program itself when the site is built: a hook of MkDocs.

The help of every command, the JSON schemas, the model cards, the changelog and the tutorial are never copied by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
SCHEMAS = ROOT / "reports" / "pages" / "schema"
_LINKS = {
    r"\(\.\./\.\./reports/pages/schema/[^)]*\)": "(schemas.md)",
    r"\(\.\./\.\./(stylegan|classify)/weights/": "(../models/",
    r"\[the tutorial\]\(tutorial\.ipynb\)": "[the tutorial](tutorial.md)",
}
"""Links of the pages as they are in the repository, and on the site."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let mkdocstrings find the package: the repository's root is `fergan` itself.

    Each room gets a link of its own. A link to the root would hold itself, and be searched without end.
    """
    package = ROOT / "build" / "reference" / "fergan"
    package.mkdir(parents=True, exist_ok=True)
    for source in [ROOT / "__init__.py", *(path.parent for path in ROOT.glob("*/__init__.py"))]:
        link = package / source.name
        if not link.is_symlink():
            link.symlink_to(source, target_is_directory=source.is_dir())
    assert config.nav is not None
    for section in config.nav:
        if "Models" in section:
            section["Models"] = [f"models/{path.name}" for path in _cards(".md")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {
        "reference/commands.md": commands(),
        "reference/schemas.md": schemas(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("(docs/", "("),
    }
    for path in _cards(".md"):
        pages[f"models/{path.name}"] = path.read_text(encoding="utf-8")
    for path in _cards(".png"):
        _add(files, File.generated(config, f"models/{path.name}", content=path.read_bytes()))
    pages["tutorial.md"], pictures = tutorial(ROOT / "docs" / "tutorial.ipynb")
    for name, content in pictures.items():
        _add(files, File.generated(config, name, content=content))
    for name, text in pages.items():
        _add(files, File.generated(config, name, content=text))
    return files


def _cards(ending: str) -> list[Path]:
    """The files of the model cards, generators first."""
    return [path for room in ("stylegan", "classify") for path in sorted((ROOT / room / "weights").glob("*" + ending))]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that lead through the repository lead to the pages made of those files."""
    for pattern, target in _LINKS.items():
        markdown = re.sub(pattern, target, markdown)
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave the name alone where a docstring says :func:`name`."""
    return re.sub(r":(?:attr|class|data|exc|func|meth|mod):(<code>)[~.]*", r"\1", html)


def _add(files: Files, file: File) -> None:
    if (former := files.get_file_from_path(file.src_uri)) is not None:
        files.remove(former)
    files.append(file)


def commands() -> str:
    """Every command with its options, in the order of `fergan --help`."""
    from fergan.workflows.cli.main import SECTIONS, cli

    lines = ["# Commands", "", "What `--help` says of each command. `fergan --version` prints the version.", ""]
    for section, names in SECTIONS.items():
        lines += [f"## {section}", ""]
        for name in names:
            command = cli.get_command(click.Context(cli), name)
            assert command is not None
            for path, found in _leaves(f"fergan {name}", command):
                lines += _command(path, found)
    return "\n".join(lines) + "\n"


def _leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from _leaves(f"{path} {name}", child)


def _command(path: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"### {path}", "", "```text", usage, "```", ""]
    for paragraph in (command.help or "").replace("\b\n", "").split("\n\n"):
        lines += [_escape(" ".join(paragraph.split())), ""]
    if command.epilog:
        example = command.epilog.removeprefix("Example: ")
        lines += ["```console", example, "```", ""]
    rows = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
    rows = [(option, text) for option, text in rows if option != "-h, --help"]
    if rows:
        lines += ["| option | what it does |", "|---|---|"]
        lines += [f"| <code>{_escape(option)}</code> | {_escape(text)} |" for option, text in rows]
        lines.append("")
    return lines


def _escape(text: str) -> str:
    """Text as it is, not as Markdown: names with stars and underscores, angle brackets, bars in tables."""
    for character in "\\`*_<>|[]":
        text = text.replace(character, f"&#{ord(character)};")
    return text


def schemas() -> str:
    """The fields of each JSON file that programs read, and the schema itself."""
    lines = [
        "# JSON schemas",
        "",
        "What the JSON files hold that programs read.",
        "",
    ]
    for path in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        required = set(schema.get("required", ()))
        lines += [f"## {schema['title']}", "", schema["description"], "", "| field | | |", "|---|---|---|"]
        for name, field in schema["properties"].items():
            kind = _kind(field)
            lines.append(f"| `{name}` | {kind}{'' if name in required else ', optional'} | {_about(field, schema)} |")
        lines += ["", f'??? note "{path.name}"', "", "    ```json"]
        lines += ["    " + line for line in path.read_text(encoding="utf-8").splitlines()] + ["    ```", ""]
    return "\n".join(lines)


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    kind = field.get("type", "one of several" if "anyOf" in field or "oneOf" in field else "value")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _about(field: dict[str, Any], schema: dict[str, Any]) -> str:
    target = schema["$defs"][_kind(field)] if "$ref" in field else {}
    return _escape(field.get("description") or target.get("description") or "")


def tutorial(path: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, and its pictures by the name of their file."""
    from nbconvert import MarkdownExporter

    hide = {"enabled": True, "remove_all_outputs_tags": ["not-on-the-site"]}
    exporter = MarkdownExporter(config={"TagRemovePreprocessor": hide})
    text, resources = exporter.from_filename(str(path), {"unique_key": "tutorial", "output_files_dir": "tutorial"})
    link = "[This page as a notebook](tutorial.ipynb)\n\n"
    title, _, rest = text.lstrip().partition("\n\n")
    return f"{title}\n\n{link}{rest}", dict(resources["outputs"])
