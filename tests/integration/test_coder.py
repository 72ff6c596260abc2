"""The coder of the examples: it plans, reads by a program, and writes what a person lets it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, eventually

pytestmark = pytest.mark.databases("sqlite")

EXAMPLE = Path(__file__).parents[2] / "examples" / "coder.toml"
MENDED = """
found = search_files(pattern="retrun")
edit_file(path="sum.py", old="retrun", new="return")
read_file(path="sum.py")["text"]
"""


@pytest.fixture
def coder(
    redis_url: str, sqlite_journal_url: str, tmp_path: Path, model: ModelServer
) -> Iterator[Stack]:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "sum.py").write_text("def add(a, b):\n    retrun a + b\n")
    text = EXAMPLE.read_text().replace('root = "workspace"', f'root = "{work}"')
    text = text.replace("[agents.coder]\n", f'[agents.coder]\nbase_url = "{model.url}"\n')
    config = tmp_path / "agents.toml"
    config.write_text(text)
    made = Stack(redis_url, sqlite_journal_url, tmp_path, FAST | {"AGENTS_CONFIG": str(config)})
    made.worker()
    yield made
    made.close()


def plan(*states: str) -> Does:
    items = [{"text": f"Step {n}", "state": state} for n, state in enumerate(states)]
    return Does(tool=("plan", {"items": items}), turn=states[0])


def waiting(run: Any) -> list[Any]:
    found: list[Any] = run.waiting(timeout=SOON_S)
    return found


def test_it_plans_reads_and_writes_what_it_may(
    coder: Stack, model: ModelServer, tmp_path: Path
) -> None:
    model.script(
        plan("doing", "open"),
        Does(tool=("run_python", {"code": MENDED}), turn="run"),
        plan("done", "done"),
        Does(tool=("write_file", {"path": "more.py", "text": "x = 1\n"}), turn="write"),
        Does(text="Mended."),
    )
    run = coder.client.ask("coder", "Mend it.", stream=True)
    sums, more = tmp_path / "workspace" / "sum.py", tmp_path / "workspace" / "more.py"
    eventually(lambda: waiting(run), "it asks before it edits")
    (edit,) = waiting(run)
    assert (edit.tool, edit.arguments["path"]) == ("edit_file", "sum.py")
    assert "retrun" in sums.read_text()
    coder.client.runs.approve(run.id, True, key=edit.key)
    eventually(lambda: [w for w in waiting(run) if w.key != edit.key], "it asks before it writes")
    (write,) = [w for w in waiting(run) if w.key != edit.key]
    assert write.tool == "write_file"
    coder.client.runs.approve(run.id, "not this one", key=write.key)
    assert run.get(timeout=SOON_S) == "Mended."
    assert sums.read_text() == "def add(a, b):\n    return a + b\n"
    assert not more.exists()
    told: list[Any] = [event.data["plan"] for event in run.events() if "plan" in event.data]
    assert [item["state"] for item in told[-1]] == ["done", "done"]


def test_commands_are_off_unless_a_table_names_them(coder: Stack, model: ModelServer) -> None:
    assert "commands" not in {
        t["kind"] for t in tomllib.loads(EXAMPLE.read_text())["tools"].values()
    }
    model.script(Does(tool=("run_command", {"argv": ["id"]})), Does(text="It cannot."))
    assert coder.client.ask("coder", "Run id.").get(timeout=SOON_S) == "It cannot."
    assert "There is no tool 'run_command'" in str(model.requests[-1].body)
    names = {tool["name"] for tool in model.requests[0].body["tools"]}
    assert {"run_python", "plan", "apply_patch", "search_files"} <= names
    assert "run_command" not in names
