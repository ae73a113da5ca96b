"""What commands print fits into any stream."""

import io
import sys

import pytest
from fergan.workflows.cli.output import accept_any_text, print_table


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_tables_and_odd_names_go_into_a_pipe_of_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding=encoding))
    accept_any_text()
    print_table(["name", "value"], [("psi \N{GREEK SMALL LETTER PSI}", "1\N{NO-BREAK SPACE}%")])
    print("caf\udce9.png \u751f \N{EN DASH}")
    sys.stdout.flush()
    text = pipe.getvalue().decode(encoding)
    assert "value" in text and r"caf\udce9.png" in text
    if encoding == "latin-1":
        assert "-----" in text and "psi psi" in text and r"\u751f -" in text
