"""An option's name means one thing, whatever the command."""

from __future__ import annotations

from collections.abc import Iterator

import click
from fergan.workflows.cli.main import cli

CONCEPTS = {
    "--batch-size": "Train on this many",
    "--channels": "Draw in gray (1) or RGB (3)",
    "--crop": "this part of",
    "--data": "Read",
    "--drop-leaks": "Leave out",
    "--epochs": "Train for this many",
    "--force": "Replace what is there",
    "--format": "in this form",
    "--host": "Listen here",
    "--init": "Start from this",
    "--n": " N",
    "--noise-mode": "Add this noise in a StyleGAN2",
    "--out": "Write",
    "--port": "Listen on this port",
    "--precision": "Compute in this",
    "--resolution": "Draw this many pixels a side",
    "--seed": "Draw",
    "--seeds": "Draw these seeds",
    "--workers": "Work",
}
"""What the help of an option says in every command that has it, where the help is not the same word for word."""

MODELS = {"--model", "--judge"}
"""The classifier that a command works with; each command says for what."""

OTHER_KEYWORDS = {
    "truncation_psi": "--psi", "truncation_cutoff": "--psi-cutoff", "class_index": "--class",  # those of run.json
    "run_name": "--run", "show_page": "--open", "overrides": "--set",  # names that Python or the command has already
    "models": "--model", "labels": "--label",  # where it may be repeated
}  # fmt: skip
"""Keywords with another name than their option."""

NO_SENTENCE = ("Of", "As", "For", "In", "With", "What", "Where", "Who", "How", "[default:")


def commands(group: click.Group = cli, path: str = "fergan") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def options() -> Iterator[tuple[str, str, click.Option]]:
    """Command, name and option; an option stands there once for each of its names."""
    for path, command in commands():
        for option in command.params:
            if isinstance(option, click.Option):
                for name in option.opts:
                    yield path, name, option


def test_a_name_has_one_type_and_one_meaning() -> None:
    found: dict[str, list[tuple[str, click.Option]]] = {}
    for path, name, option in options():
        found.setdefault(name, []).append((path, option))
    assert "--json" not in found, "--format json is for programs"
    shared = {name: uses for name, uses in found.items() if len(uses) > 1 and name not in MODELS}
    assert set(CONCEPTS) <= set(shared)
    for name, uses in shared.items():
        assert len({_kind(option) for _, option in uses}) == 1, (name, uses)
        helps = {option.help or "" for _, option in uses}
        meaning = CONCEPTS.get(name)
        if meaning is None:
            helps = {text.partition("  [default:")[0] for text in helps}
            assert len(helps) == 1, f"{name}: one help for all, or a meaning for CONCEPTS: {helps}"
        else:
            assert all(meaning in text for text in helps), (name, helps)


def test_every_help_is_a_sentence() -> None:
    bad = {}
    for path, name, option in options():
        text = option.help or ""
        said = text.partition(", ")[2].capitalize() if text.startswith("With ") else text
        if said.startswith(tuple(f"{word} " for word in NO_SENTENCE)) or not said:
            bad[f"{path} {name}"] = text
    assert not bad


def test_a_keyword_is_its_option() -> None:
    found = {}
    for _, name, option in options():
        keyword = option.name or ""
        if name == option.opts[0] and name.startswith("--") and keyword != name[2:].replace("-", "_"):
            found[keyword] = name
    assert found == OTHER_KEYWORDS


def _kind(option: click.Option) -> str:
    if option.is_flag:
        return "flag"
    number = isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
    return "number" if number else "choice" if isinstance(option.type, click.Choice) else "text"
