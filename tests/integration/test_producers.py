"""Producers that do not use the client: plain Celery, bare kombu, and the installed wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import NotRegistered
from kombu import Connection, Exchange, Producer, Queue

from deploy.local.state import ROOT
from tests.integration.harness import SOON_S, Stack, eventually
from tests.support.service import CHECKOUT
from tests.support.validators import missing
from tests.support.wheel import Venv, built

pytestmark = pytest.mark.databases("sqlite")

INSTALL_S = 120


@pytest.fixture
def plain(stack: Stack) -> Iterator[Celery]:
    """An app that knows nothing of us but the task's name."""
    app = Celery("somebody", broker=stack.redis_url, backend=stack.redis_url)
    yield app
    app.close()


class TestPlainCelery:
    def test_send_task(self, plain: Celery) -> None:
        sent = plain.send_task("agents.ask", ["hi"], {"agent": "shout"}, queue="agents")
        assert sent.get(timeout=SOON_S) == "HI"

    def test_input_by_name(self, plain: Celery) -> None:
        sent = plain.send_task(
            "agents.ask", kwargs={"agent": "shout", "input": "hi"}, queue="agents"
        )
        assert sent.get(timeout=SOON_S) == "HI"

    def test_patterns(self, plain: Celery) -> None:
        voters = {"voters": ["yes", "no", "yes"]}
        sent = plain.send_task("agents.vote", ["?"], voters, queue="agents")
        assert sent.get(timeout=SOON_S)["option"] == "yes"

    @pytest.mark.usefixtures("shop")
    def test_signatures_by_name(self, plain: Celery) -> None:
        ask = plain.signature("agents.ask", ["a"], {"agent": "shout"}, queue="agents")
        answer = plain.signature("shop.answer", queue="shop")
        assert (ask | answer).apply_async().get(timeout=SOON_S) == "shop says: A"

    def test_unknown_task(self, plain: Celery) -> None:
        sent = plain.send_task("agents.nonsense", ["x"], queue="agents")
        with pytest.raises(NotRegistered, match=r"agents\.nonsense"):
            sent.get(timeout=SOON_S)

    def test_error_names_itself_without_our_package(self, plain: Celery) -> None:
        sent = plain.send_task("agents.ask", ["hi"], {"agent": "nobody"}, queue="agents")
        with pytest.raises(Exception, match="There is no agent 'nobody'") as caught:
            sent.get(timeout=SOON_S)
        assert type(caught.value).__name__ == "UnknownAgentError"


def _result(stack: Stack, task_id: str) -> dict[str, Any]:
    """What any program can read from Redis."""
    raw = eventually(lambda: stack.redis.get(f"celery-task-meta-{task_id}"))
    found: dict[str, Any] = json.loads(str(raw))
    return found


@pytest.mark.parametrize("priority", [None, 0, 5, 9])
def test_kombu_alone(stack: Stack, priority: int | None) -> None:
    task_id = str(uuid.uuid4())
    headers = {
        "lang": "py",
        "task": "agents.ask",
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
    }
    body: list[Any] = [["from kombu"], {"agent": "shout"}, {}]
    options = {} if priority is None else {"priority": priority}
    with (
        Connection(
            stack.redis_url, transport_options={"priority_steps": list(range(10))}
        ) as connection,
        connection.channel() as channel,
    ):
        Producer(channel).publish(
            body,
            exchange=Exchange("agents"),
            routing_key="agents",
            declare=[Queue("agents", Exchange("agents"), routing_key="agents")],
            serializer="json",
            headers=headers,
            correlation_id=task_id,
            **options,
        )
    result = _result(stack, task_id)
    assert (result["status"], result["result"]) == ("SUCCESS", "FROM KOMBU")
    assert stack.row(task_id).priority == (priority or 0)
    assert stack.workers[0].logs().count(f"[{task_id}] received") == 1


def test_kombu_simple_queue(stack: Stack) -> None:
    task_id = str(uuid.uuid4())
    headers = {"lang": "py", "task": "agents.ask", "id": task_id}
    with Connection(stack.redis_url) as connection:
        queue = connection.SimpleQueue("agents")
        queue.put([["simple"], {"agent": "shout"}, {}], headers=headers, serializer="json")
        queue.close()
    assert _result(stack, task_id)["result"] == "SIMPLE"


def _run(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(a) for a in argv],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )


@pytest.fixture(scope="module")
def other_venv(disk: Path) -> Path:
    """A virtual environment with the built wheel and what it depends on; its Python."""
    try:
        made = Venv(disk / "venv")
        made.install(built(made))
    except AssertionError as error:
        missing(f"the index cannot be reached, or the wheel not built: {str(error)[-2000:]}")
    return Path(made.python)


SCRIPT = """
from celery_agents import Client
from celery_agents.errors import UnknownAgentError

with Client() as agents:
    print(agents.ask("shout", "from afar").get(timeout=30))
    print(agents.vote(["yes", "no", "yes"], "?").get(timeout=30).option)
    try:
        agents.ask("nobody", "?").get(timeout=30)
    except UnknownAgentError as error:
        print(type(error).__name__)
"""


@pytest.mark.slow
@pytest.mark.timeout(3 * INSTALL_S)
class TestWheel:
    def test_ten_lines_get_their_answer(
        self, stack: Stack, other_venv: Path, tmp_path: Path
    ) -> None:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT)
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = _run(other_venv, script, env={**env, "REDIS_URL": stack.redis_url})
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == ["FROM AFAR", "yes", "UnknownAgentError"]

    def test_holds_the_client_alone(self, other_venv: Path) -> None:
        code = (
            "import importlib.util as u, celery_agents as c; "
            "print([m for m in ('app', 'agents', 'tasks', 'sqlalchemy', 'tests') "
            "if u.find_spec(m)], c.__file__)"
        )
        done = _run(other_venv, "-I", "-c", code)
        assert done.stdout.startswith("[] ")
        assert str(other_venv.parent.parent) in done.stdout


def test_script_that_leaves_its_result_ends_quietly(stack: Stack) -> None:
    """Celery's result objects print a traceback when they are dropped at exit; ours must not."""
    code = "from celery_agents import Client; Client().ask('shout', 'x'); print('sent')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=CHECKOUT.environment({"REDIS_URL": stack.redis_url}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "sent\n", "")
