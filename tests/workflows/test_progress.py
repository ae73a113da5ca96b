"""Progress: a bar for terminals, lines for notebooks, nothing for logs and with ``--quiet``."""

import click
import pytest
from fergan.workflows import progress as module
from fergan.workflows.cli.main import SECTIONS, cli
from fergan.workflows.progress import progress


def work(unit: str = "faces") -> None:
    with progress("Generating", unit, into="runs/first") as show:
        for done in range(0, 101, 20):
            show(done, 100)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)


def test_a_terminal_sees_stage_place_rate_and_time(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    work()
    out, shown = capsys.readouterr()
    assert out == ""
    for part in ("Generating: runs/first", "100/100", "faces/s", "0:00:0"):
        assert part in shown


def test_slow_work_has_a_time_for_each_piece() -> None:
    assert module._rate(0.25, "epochs") == "4.0 s for each epoch"
    assert module._rate(1234, "faces") == "1,234 faces/s"


def test_a_log_sees_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    work()
    assert capsys.readouterr() == ("", "")


def test_a_notebook_gets_lines_without_control_characters(
    terminal: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setattr(module, "_SECONDS_A_LINE", 0.0)
    work()
    shown = capsys.readouterr().err
    assert "Generating: runs/first  20 of 100 faces" in shown and "\x1b" not in shown


def test_quiet_leaves_out_progress_and_keeps_results(terminal: None, invoke) -> None:
    loud = invoke("generate", "--n", "2", "--run", "loud")
    hushed = invoke("generate", "--n", "2", "--run", "hushed", "--quiet")
    assert "Generating" in loud.stderr
    assert hushed.stderr == "" and hushed.stdout == "2 faces in runs/hushed/faces\n"
    assert "Generating" in invoke("generate", "--n", "3", "--run", "loud").stderr  # it does not stay quiet


def test_every_command_can_be_quiet() -> None:
    def leaves(command: click.Command | None) -> list[click.Command]:
        assert command is not None
        if isinstance(command, click.Group):
            return [leaf for child in command.commands.values() for leaf in leaves(child)]
        return [command]

    context = click.Context(cli)
    for names in SECTIONS.values():
        for name in names:
            for command in leaves(cli.get_command(context, name)):
                assert [option.name for option in command.params].count("quiet") == 1, command.name
