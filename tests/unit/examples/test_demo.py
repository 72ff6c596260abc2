from __future__ import annotations

import pytest

from examples.triage import demo
from examples.triage.report import Message, Row, Work

ROW = Row(
    Message("No puc iniciar la sessió amb la meva contrasenya de sempre", "ca"),
    {"eld": "ca", "py3langid": "ca", "fasttext": "ca", "langdetect": "es"},
    "ca",
    0.75,
    "supervisor",
)


@pytest.mark.parametrize(("columns", "most"), [(None, 80), ("80", 80), ("79", 80), ("100", 100)])
def test_who_decided_is_seen_on_any_screen(
    columns: str | None,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where the output is no screen: a file, or a pipe."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    demo._print([ROW], Work(steps=6, retries=0, failed=0, seconds=1.0), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.rstrip().endswith("supervisor") for line in lines)
    assert max(map(len, lines)) <= most
