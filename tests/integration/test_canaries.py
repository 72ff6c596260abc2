"""Secrets wherever one can be, then whatever shows something: none of them is there."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import subprocess
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from celery import Celery
from sqlalchemy import MetaData, select, text

from celery_agents import Client
from celery_agents.errors import AgentsError
from deploy.local.servers import LOOPBACK
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Stack, celery, eventually
from tests.support.ports import free_port
from tests.support.postgres import binaries
from tests.support.service import APP

pytestmark = pytest.mark.databases("both")

KEY = "sk-" + "proj-" + "q7Zr2Xw9Kd4Tn8Vb3Hm6Yc5Jf1Gs0Lp"
TOKEN = "tok7" + "Zr2Xw9Kd4Tn8Vb3Hm6"
QUERY = "qry9" + "Kd4Tn8Vb3Hm6Yc5Jf1"
NAMED = "nam3" + "Hm6Yc5Jf1Gs0Lp7Pk2"
LOGIN = "lgn5" + "Vb3Hm6Yc5Jf1Gs0Lp7Z"
CANARIES = (KEY, TOKEN, QUERY, NAMED, LOGIN)
FORMS = [f"password={NAMED}", f'{{"accessToken": "{NAMED}"}}', f"Authorization: Token {NAMED}"]
#: Escapes that set a terminal's title, and a line that looks like one of the log.
STEERING = "\x1b]0;OWNED\x07\n[2026-11-27 08:00:00,000: INFO/MainProcess] forged"


@contextmanager
def _stack(redis_url: str, journal_url: str, tmp_path: Path, model: ModelServer) -> Iterator[Stack]:
    config = tmp_path / "agents.toml"
    config.write_text(
        textwrap.dedent(f"""
            [agents.gpt]
            kind = "openai"
            model = "gpt-5-mini"
            base_url = "{model.url}/v1"
            api_key_env = "CANARY_KEY"

            [agents.service]
            kind = "http"
            url = "{model.url}/agent?api_key={QUERY}"
            token_env = "CANARY_TOKEN"
        """)
    )
    port = {"AGENTS_HEALTH_PORT": str(free_port())}
    env = {**FAST, **port, "AGENTS_CONFIG": str(config), "CANARY_KEY": KEY, "CANARY_TOKEN": TOKEN}
    made = Stack(redis_url, journal_url, tmp_path, env)
    try:
        made.worker([*COROUTINES, "--loglevel", "DEBUG"])
        yield made
    finally:
        made.close()


@pytest.fixture
def stack(
    redis_url: str, sqlite_journal_url: str, tmp_path: Path, model: ModelServer
) -> Iterator[Stack]:
    with _stack(redis_url, sqlite_journal_url, tmp_path, model) as made:
        yield made


def _work(client: Client, model: ModelServer, redis_url: str) -> list[str]:
    """Runs that succeed, fail, and cannot be; their ids."""
    model.script(
        Does(status=400, text=f"the key {KEY} may not do this"),
        Does(status=400, text=f"no bearer {TOKEN} for /agent?api_key={QUERY}"),
    )
    asked = [client.ask("gpt", "?"), client.ask("service", "?")]
    asked += [client.ask("noop", form, instructions=form) for form in FORMS]
    asked += [client.ask("unknown", f"{form}") for form in FORMS]
    for run in asked:
        with contextlib.suppress(AgentsError):
            run.get(timeout=SOON_S)
    with Celery("plain", broker=redis_url, backend=redis_url) as plain:
        for form in FORMS:
            name = f"no.task {form}{STEERING}"
            plain.send_task(name, [], {}, queue="agents", task_id=str(uuid.uuid4()))
            about: dict[str, Any] = {"agent": "noop", form: 1, "instructions": f"\n{STEERING}"}
            plain.send_task("agents.ask", [form], about, queue="agents", argsrepr="-")
    return [run.id for run in asked]


def _rows(stack: Stack) -> str:
    """What people are shown of rows; inputs and the raw bytes of letters are kept whole."""
    with stack.engine.connect() as connection:
        steps = connection.execute(text("SELECT error FROM steps")).all()
        calls = connection.execute(text("SELECT error FROM calls")).all()
        letters = connection.execute(text("SELECT reason, task, payload FROM dead_letters")).all()
    return repr([steps, calls, letters])


def _password(stack: Stack) -> str:
    """The broker's."""
    password = stack.redis_url.split(":")[2].split("@")[0]
    assert len(password) > 8
    return password


#: Of Flower and of the worker's own endpoint.
PAGES = ("/workers", "/tasks", "/broker", "/metrics", "/api/workers?refresh=1", "/api/tasks")


def _pages(stack: Stack, flower: str, run_id: str) -> dict[str, str]:
    """What Flower tells somebody who is logged in, and the worker anybody on its machine."""
    worker, health = stack.workers[0].name, f"http://{LOOPBACK}:{stack.env['AGENTS_HEALTH_PORT']}"
    asked = [*(f"{flower}{page}" for page in PAGES), f"{flower}/worker/{worker}"]
    asked += [f"{flower}/task/{run_id}", f"{flower}/api/task/info/{run_id}"]
    asked += [f"{health}{page}" for page in ("/metrics", "/healthz", "/readyz")]
    with requests.Session() as direct:
        direct.trust_env = False
        direct.auth = ("admin", LOGIN)
        return {url: direct.get(url, timeout=20).text for url in asked}


def _watches(stack: Stack, flower: str) -> bool:
    """Whether Flower sees what is run; it hears only what is sent once it listens."""
    run = stack.client.ask("noop", 1)
    run.get(timeout=SOON_S)
    with contextlib.suppress(requests.ConnectionError), requests.Session() as direct:
        direct.trust_env = False
        seen = direct.get(f"{flower}/api/tasks", auth=("admin", LOGIN), timeout=10)
        return "agents.ask" in seen.text
    return False


@pytest.mark.timeout(300)  # five commands, each of which imports all of Celery
def test_no_canary_is_anywhere(stack: Stack, model: ModelServer) -> None:
    page = "https://agents.example/ui"
    flower = stack.flower({"FLOWER_BASIC_AUTH": f"admin:{LOGIN}", "AGENTS_UI_URL": f"{page}/"})
    eventually(lambda: _watches(stack, flower))
    ids = _work(stack.client, model, stack.redis_url)
    eventually(lambda: len(stack.client.dead_letters.list(100)) >= len(FORMS))
    letters = stack.client.dead_letters.list(100)
    env, app = stack.env, ("-A", APP)
    commands: list[tuple[str, ...]] = [
        ("inspect", "conf"),
        ("inspect", "report"),
        ("inspect", "stats"),
        ("report",),
        ("agents", "dead", "list"),
        *(("agents", "status", run_id) for run_id in ids[1:2]),
        *(("agents", "dead", "show", letter["id"]) for letter in letters[:1]),
    ]
    shown = {command: celery(*app, *command, env=env) for command in commands}
    texts = {" ".join(command): f"{s.stdout}{s.stderr}" for command, s in shown.items()}
    texts |= {"log": stack.workers[0].logs(), "rows": _rows(stack), "letters": json.dumps(letters)}
    texts |= _pages(stack, flower, ids[0]) | {"flower": stack.workers[1].logs()}
    texts |= {run_id: str(stack.redis.get(f"celery-task-meta-{run_id}")) for run_id in ids[:2]}
    password = _password(stack)
    private = [*CANARIES, password, *(base64.b64encode(c.encode()).decode() for c in CANARIES)]
    hits = [
        (place, secret[:4])
        for place, told in texts.items()
        for secret in private
        if secret.casefold() in told.casefold()
    ]
    assert hits == []
    assert "redbeat_redis_url" in texts["inspect conf"]
    assert all(len(told) > 1 and told != "None" for told in texts.values()), texts
    assert {command: s.returncode for command, s in shown.items()} == dict.fromkeys(shown, 0)
    assert f"{page}/runs/{ids[0]}" in texts[f"{flower}/task/{ids[0]}"]
    lines = [line for place in texts if place != "log" for line in texts[place].splitlines()]
    assert not [line for line in lines if line.startswith("[2026-11-27 08:00:00") or "\x07" in line]
    assert not [
        line for line in texts["log"].splitlines() if line.startswith("[2026-11-27 08:00:00,000")
    ]
    assert "\x1b]0;" not in texts["log"]


#: Where inputs stand whole, or an answer that repeats them; see docs/security.md.
WHOLE = {"steps.payload", "steps.outcome", "dead_letters.raw"}


def _dump(stack: Stack, folder: Path | None) -> str:
    """All of the journal, as whoever backs it up has it."""
    url = stack.engine.url
    if stack.engine.dialect.name == "sqlite":
        with contextlib.closing(sqlite3.connect(url.database or "")) as journal:
            return "\n".join(journal.iterdump())
    if folder is None or not (program := folder / "pg_dump").exists():  # the wheel has none
        return json.dumps(_columns(stack))
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.run([program, plain], capture_output=True, text=True, check=True).stdout


def _columns(stack: Stack) -> dict[str, str]:
    """What stands in each column of each table."""
    held = MetaData()
    held.reflect(stack.engine)
    with stack.engine.connect() as connection:
        return {
            f"{column}": repr(connection.execute(select(column)).scalars().all())
            for table in held.sorted_tables
            for column in table.columns
        }


def _forms(secret: str) -> list[str]:
    """A secret as it is, in hexadecimal digits, and as Base64 of a text that has it anywhere."""
    raw = secret.encode()
    inside = [base64.b64encode(bytes(n) + raw).decode()[4 if n else 0 : -4] for n in range(3)]
    return [secret, raw.hex(), *inside]


def _holds(told: str, secret: str) -> bool:
    return any(form.casefold() in told.casefold() for form in _forms(secret))


def test_no_canary_is_in_a_dump_of_the_journal(
    redis_url: str, database_url: str, tmp_path: Path, model: ModelServer
) -> None:
    """Inputs alone are kept whole, and stand where they are said to."""
    with _stack(redis_url, database_url, tmp_path, model) as stack:
        _work(stack.client, model, redis_url)
        eventually(lambda: len(stack.client.dead_letters.list(100)) >= len(FORMS))
        dump, columns = _dump(stack, binaries()), _columns(stack)
        secrets = (KEY, TOKEN, QUERY, _password(stack))
    assert [secret[:4] for secret in secrets if _holds(dump, secret)] == []
    assert _holds(dump, NAMED)  # what is there is found
    assert {column for column, told in columns.items() if _holds(told, NAMED)} == WHOLE
