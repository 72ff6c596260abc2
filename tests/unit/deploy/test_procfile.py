from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_agents.errors import ConfigurationError
from deploy.local import procfile
from deploy.local.state import ROOT

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,10}", fullmatch=True)
COMMANDS = st.from_regex(r"[!-~]([ -~]{0,30}[!-~])?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", {}),
        ("web: serve", {"web": "serve"}),
        ("web:serve", {"web": "serve"}),
        ("# note\n\nweb: serve --port=${PORT:-80}\n", {"web": "serve --port=${PORT:-80}"}),
        ("b: 2\na: 1:1", {"b": "2", "a": "1:1"}),
    ],
)
def test_lines_are_read(text: str, commands: dict[str, str]) -> None:
    assert procfile.parse(text) == commands
    assert list(procfile.parse(text)) == list(commands)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("serve", "line 1 is not"),
        ("ok: yes\nweb:", "line 2 is not"),
        ("two words: serve", "line 1 is not"),
        ("web: a\nweb: b", "line 2 repeats web"),
    ],
)
def test_wrong_lines_are_named(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        procfile.parse(text)


@given(st.dictionaries(NAMES, COMMANDS, max_size=5))
def test_what_is_written_is_read(commands: dict[str, str]) -> None:
    text = "\n".join(f"{name}: {command}" for name, command in commands.items())
    assert procfile.parse(text) == commands


def test_shell_fills_in_variables_and_becomes_the_command() -> None:
    argv = procfile.argv("printf '%s %s' ${SET:-unset} ${UNSET:-unset}")
    done = subprocess.run(argv, env={"SET": "set"}, capture_output=True, text=True, check=True)
    assert done.stdout == "set unset"


def test_ours_has_the_service() -> None:
    commands = procfile.read(ROOT / "Procfile")
    assert list(commands) == ["release", "worker", "beat", "flower", "web"]
    assert "--pool" not in commands["worker"]  # the default is the one made for waiting
    assert commands.pop("web") == "python -P -m api"
    assert all(command.startswith("celery -A app ") for command in commands.values())
