"""Tools of an MCP server with real workers: called once, through a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines
from tests.support.mcp_servers import COMMAND, alive

pytestmark = pytest.mark.databases("postgres")

CONFIG = """
[tools.books]
kind = "mcp"
command = {command}
prefix = "books_"
include = ["write"]
connect_timeout_s = 60.0

[agents.gpt]
kind = "openai"
model = "m"
base_url = "{model}/v1"
tools = ["books", "tests.support.agents:kill_once"]
"""


@pytest.fixture
def with_books(
    database_url: str, redis_url: str, tmp_path: Path, model: ModelServer
) -> Iterator[Stack]:
    """A stack of the test's own, on each database, whose agent has a server's tools."""
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG.format(command=json.dumps([*COMMAND]), model=model.url))
    made = Stack(redis_url, database_url, tmp_path, FAST | {"AGENTS_CONFIG": str(config)})
    yield made
    made.close()


def test_a_tool_is_called_once_through_a_kill_and_its_server_ends_with_the_worker(
    with_books: Stack, model: ModelServer, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    model.script(
        Does(tool=("books_write", {"path": str(written)})),
        Does(tool=("kill_once", {"path": str(tmp_path / "killed")})),
        Does(tool=("books_write", {"path": str(written)})),
        Does(text="It is written."),
    )
    worker = with_books.worker()
    run = with_books.client.ask("gpt", "Write it down, twice.")
    eventually(lambda: not worker.running, "it died")
    (first,) = lines(written)
    eventually(lambda: not alive(int(first.split()[1])), "its server has ended")
    second_worker = with_books.worker()
    assert run.get(timeout=SOON_S) == "It is written."
    # The first call was read from the journal; the second is another one, by another process.
    assert lines(written)[:1] == [first]
    (other,) = lines(written)[1:]
    assert all(a != b for a, b in zip(first.split(), other.split(), strict=True))
    assert [t["function"]["name"] for t in model.requests[0].body["tools"]] == [
        *("kill_once", "books_write")
    ]
    server = int(other.split()[1])
    assert alive(server)
    second_worker.terminate()
    eventually(lambda: not alive(server), "its server has ended")
