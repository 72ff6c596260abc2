"""A backup that was taken under load goes on elsewhere, by the commands of docs/operations.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from celery_agents import Run
from deploy.local.state import ROOT
from tests.docs.blocks import blocks
from tests.integration.harness import FAST, SOON_S, Stack, celery, eventually, lines
from tests.support.postgres import Databases, binaries
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.databases("both"), pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = ROOT / "docs" / "operations.md"
#: What the page has one type, by its first word and what else is in it.
TYPED = [line for b in blocks(PAGE, "text") for line in b.code.splitlines()]
CHECKED = [line for b in blocks(PAGE, "sh") for line in b.code.splitlines()][:2]
ASKS, MEMBERS = 60, 30
#: Some have ended at the backup, and the place has too few slots for the others to have.
SHORT_S, LONG_S = 0.05, 5
MANY = [
    "--concurrency",
    "100",
    "--without-mingle",
    "--without-gossip",
    "-Q",
    "agents,agents.control",
]


def typed(word: str, folder: Path, env: Mapping[str, str]) -> None:
    """Run the line of the page that has this word, in a shell, as its reader would."""
    (line,) = [line for line in TYPED if word in line]
    tools = [str(p) for p in (Path(sys.executable).parent, binaries()) if p]
    path = os.pathsep.join([*tools, os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={**os.environ, **env, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Place:
    """A database of each kind, and the way from one to another one."""

    def __init__(self, folder: Path, url: str, elsewhere: str) -> None:
        self.folder, self.url, self.elsewhere = folder, url, elsewhere

    def back_up(self) -> None:
        if self.url.startswith("sqlite"):
            typed("sqlite3", self.folder, {})
        else:
            typed("pg_dump", self.folder, {"DATABASE_URL": _plain(self.url)})
        for copy in self.folder.glob("journal.dump"), self.folder.glob("copy.db"):
            assert all(file.stat().st_mode & 0o077 == 0 for file in copy)  # others may be here

    def restore(self) -> None:
        if self.url.startswith("sqlite"):
            shutil.move(self.folder / "copy.db", make_url(self.elsewhere).database or "")
        else:
            typed("pg_restore", self.folder, {"RESTORED_URL": _plain(self.elsewhere)})


def _plain(url: str) -> str:
    """The address as PostgreSQL's own programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def place(
    request: pytest.FixtureRequest, database: str, database_url: str, tmp_path: Path
) -> Iterator[Place]:
    if database == "sqlite":
        yield Place(tmp_path, database_url, f"sqlite:///{tmp_path / 'elsewhere.db'}")
        return
    server: Databases = request.getfixturevalue("postgres")
    elsewhere = server.create()
    yield Place(tmp_path, database_url, elsewhere)
    server.drop(elsewhere)


def ask_all(stack: Stack, counted: Path) -> list[Run[Any]]:
    """Ask for the runs of the test; those that are there already are attached to."""

    def order(number: int) -> Any:
        seconds = SHORT_S if number < ASKS // 3 else LONG_S
        return {"seconds": seconds, "path": str(counted), "value": number}

    asked = [stack.client.ask("count", order(n), id=f"order-{n}") for n in range(ASKS)]
    return [stack.client.map("count", [order(n) for n in range(MEMBERS)], id="mapped"), *asked]


def counting(stack: Stack, *, ended: bool) -> set[str]:
    """Ids of the steps that count, of those that have ended or of the others."""
    query = text("SELECT id, state FROM steps WHERE agent = 'count' AND id <> 'mapped'")
    rows = stack.read(lambda c: c.execute(query).all())
    return {row.id for row in rows if (row.state == "succeeded") is ended}


def test_runs_go_on_elsewhere_and_none_is_done_twice(
    place: Place, broker: RedisServer, counted: Path, tmp_path: Path
) -> None:
    here = Stack(broker.fresh_url(), place.url, tmp_path, FAST)
    there = Stack(broker.fresh_url(), place.elsewhere, tmp_path, FAST)
    try:
        here.worker()
        ask_all(here, counted)
        eventually(lambda: len(lines(counted)) >= 10)
        place.back_up()
        here.workers[0].kill()  # the place burns down
        place.restore()
        ended, open_ = counting(there, ended=True), counting(there, ended=False)
        assert ended
        assert open_  # it was amid it
        counted.unlink()
        for line in CHECKED:
            done = celery(*line.split()[1:], env=there.env)
            assert done.returncode == 0, done.stderr
        there.worker(MANY)
        eventually(lambda: not counting(there, ended=False), timeout_s=2 * SOON_S)
        assert open_ <= set(lines(counted))  # by themselves: nobody has asked again
        mapped, *asked = ask_all(there, counted)
        assert [run.get(timeout=2 * SOON_S) for run in asked] == list(range(ASKS))
        assert list(mapped.get(timeout=2 * SOON_S).results) == list(range(MEMBERS))
        done_there = Counter(lines(counted))
        assert set(done_there.values()) == {1}
        assert done_there.keys() == counting(there, ended=True) - ended
        assert len(ended) + len(done_there) == ASKS + MEMBERS
    finally:
        here.close()
        there.close()


def test_the_page_says_what_is_tried() -> None:
    words = [line.removeprefix("umask 077; ").split()[0] for line in TYPED]
    assert words == ["pg_dump", "python", "pg_restore"]
    assert [line.split()[-1] for line in CHECKED] == ["upgrade", "current"]
