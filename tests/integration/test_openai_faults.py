"""``/v1`` while things die: whoever reads goes on without a gap, and pays once."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from app.access.permissions import Role
from deploy.local.servers import LOOPBACK
from deploy.local.state import ROOT
from tests.integration.harness import Stack, eventually, lines
from tests.support.api import made_key, served
from tests.support.npm import installed_by_npm

pytestmark = pytest.mark.databases("one")

NODE = ROOT / "tests" / "support" / "node"


@pytest.fixture
def key(either: Stack) -> str:
    return made_key(either.database_url, Role.USER, tenant="acme")


@pytest.fixture
def one(fast: Stack) -> Stack:
    """On SQLite alone: what the database has no part in."""
    fast.worker()
    return fast


@pytest.fixture
def one_key(one: Stack) -> str:
    return made_key(one.database_url, Role.USER, tenant="acme")


def env_of(stack: Stack) -> dict[str, str]:
    return {name: stack.env[name] for name in ("REDIS_URL", "DATABASE_URL")}


def sdk(base: Any, key: str, retries: int = 0) -> OpenAI:
    url = f"{str(base).rstrip('/')}/v1"
    return OpenAI(base_url=url, api_key=key, max_retries=retries, timeout=60)


def order(path: Path, words: int = 60, **more: Any) -> str:
    return json.dumps({"path": str(path), "words": words, **more})


def words(count: int, word: str = "word") -> str:
    return " ".join(f"{word}-{n}" for n in range(count))


def said(events: list[Any]) -> str:
    return "".join(e.delta for e in events if e.type == "response.output_text.delta").strip()


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def read_some(stream: Any, pieces: int = 3) -> list[Any]:
    """The first events of a stream, until so many pieces of text have come."""
    found: list[Any] = []
    for event in stream:
        found.append(event)
        if sum(e.type == "response.output_text.delta" for e in found) == pieces:
            return found
    raise AssertionError(found)


def test_a_killed_api(either: Stack, key: str, counted: Path, tmp_path: Path) -> None:
    """Another process of the API goes on where the killed one was."""
    about: Any = {"model": "recites", "background": True, "stream": True}
    with served(env_of(either), tmp_path) as first, sdk(first.base_url, key) as ai:
        stream = ai.responses.create(input=order(counted, 100, pause_s=0.05), **about)
        seen = read_some(stream)
        first.child.kill()  # type: ignore[attr-defined]
    with served(env_of(either), tmp_path) as second, sdk(second.base_url, key) as ai:
        run = {"response_id": seen[0].response.id, "stream": True}
        seen += [*ai.responses.retrieve(**run, starting_after=seen[-1].sequence_number)]
    assert numbers(seen) == [*range(len(seen))]
    assert said(seen) == words(100)
    assert seen[-1].response.output_text == words(100)
    assert lines(counted) == ["paid"]


def test_a_killed_worker(either: Stack, key: str, counted: Path, tmp_path: Path) -> None:
    """The next worker repeats what was said; who listens hears it once."""
    dying = order(counted, dies_at=30, pause_s=0.02)
    messages: Any = [{"role": "user", "content": dying}]
    with served(env_of(either), tmp_path) as http, sdk(http.base_url, key) as ai:
        stream = ai.responses.create(model="recites", input=dying, stream=True)
        seen = read_some(stream, 1)
        either.worker()
        seen += [*stream]
        assert numbers(seen) == [*range(len(seen))]
        assert said(seen) == words(60)
        again = [*ai.responses.retrieve(seen[0].response.id, stream=True)]
        assert [e.type for e in again] == [e.type for e in seen]
        assert said(again) == words(60)
        chunks = iter(ai.chat.completions.create(model="recites", messages=messages, stream=True))
        text = next(chunks).choices[0].delta.content or ""
        either.worker()
        text += "".join(c.choices[0].delta.content or "" for c in chunks)
        assert text.strip() == words(60)
    assert lines(counted) == ["paid", "paid"]
    assert either.calls_made_twice() == 0


def test_a_worker_whose_successor_says_something_else(
    one: Stack, one_key: str, counted: Path, tmp_path: Path
) -> None:
    dying = order(counted, dies_at=30, pause_s=0.02, other=True)
    messages: Any = [{"role": "user", "content": dying}]
    with served(env_of(one), tmp_path) as http, sdk(http.base_url, one_key) as ai:
        stream = ai.responses.create(model="recites", input=dying, stream=True)
        seen = read_some(stream, 1)
        one.worker()
        seen += [*stream]
        assert numbers(seen) == [*range(len(seen))]
        items = [e.item for e in seen if e.type == "response.output_item.done"]
        assert [item.status for item in items] == ["incomplete", "completed"]
        assert items[-1].content[0].text.strip() == words(60, "other")
        assert seen[-1].response.output_text == words(60, "other")
        chunks = iter(ai.chat.completions.create(model="recites", messages=messages, stream=True))
        assert next(chunks).id
        one.worker()
        with pytest.raises(openai.APIError, match="began again") as error:
            list(chunks)
        place = error.value.message.rpartition("/")[2].rstrip(".")
        ended = eventually(lambda: _completed(ai, place))
        assert ended.output_text == words(60, "other")


def _completed(ai: OpenAI, response_id: str) -> Any:
    found = ai.responses.retrieve(response_id)
    return found if found.status == "completed" else None


# -- tries


@contextmanager
def cutting(upstream: int, cuts: int, accepted: Callable[[], Any]) -> Iterator[int]:
    """A proxy that cuts the first connections once their request was accepted; its port."""
    left = [cuts]

    def serve(near: socket.socket) -> None:
        with near, socket.create_connection((LOOPBACK, upstream)) as far:
            left[0] -= 1
            cut = left[0] >= 0
            asks = threading.Thread(target=pump, args=(near, far), daemon=True)
            asks.start()
            if cut:
                eventually(accepted)
                near.shutdown(socket.SHUT_RDWR)
            else:
                pump(far, near)

    with socket.create_server((LOOPBACK, 0)) as door:

        def listen() -> None:
            while True:
                try:
                    near, _ = door.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(near,), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass


def test_a_cut_answer_is_asked_for_again_and_paid_once(
    either: Stack, key: str, counted: Path, tmp_path: Path
) -> None:
    """The SDK sends no key; its second try attaches to the run of its first."""
    messages: Any = [{"role": "user", "content": order(counted, 20)}]
    with served(env_of(either), tmp_path) as http:
        port = http.base_url.port
        assert port is not None
        with (
            cutting(port, 1, lambda: lines(counted)) as door,
            sdk(f"http://{LOOPBACK}:{door}", key, retries=2) as ai,
        ):
            told = ai.chat.completions.create(model="recites", messages=messages)
        assert told.choices[0].message.content == words(20)
        assert lines(counted) == ["paid"]
        assert either.counts() == 1
        with (
            cutting(port, 2, lambda: len(lines(counted)) > 1) as door,
            sdk(f"http://{LOOPBACK}:{door}", key, retries=2) as ai,
        ):
            response = ai.responses.create(model="recites", input=order(counted, 30))
        assert response.output_text == words(30)
        assert len(lines(counted)) == 2
        with sdk(http.base_url, key) as ai:  # the same question, meant as another one
            ai.chat.completions.create(model="recites", messages=messages)
        assert len(lines(counted)) == 3
    assert either.counts() == 3


def test_tries_that_came_together_get_runs_of_their_own(
    one: Stack, one_key: str, tmp_path: Path
) -> None:
    """Several equal requests, all cut: each of their second tries gets another one's run."""
    body = {"model": "shout", "input": "hello", "background": True}
    with served(env_of(one), tmp_path) as http:

        def ask(count: int, **headers: str) -> str:
            about = {"Authorization": f"Bearer {one_key}", "x-stainless-retry-count": str(count)}
            told = http.post("/v1/responses", json=body, headers=about | headers)
            assert told.status_code == 200, told.text
            return str(told.json()["id"])

        first = [ask(0) for _ in range(3)]
        assert len(set(first)) == 3
        assert ask(1) == first[-1]  # the newest
        assert {ask(1), ask(1)} == set(first[:-1])
        other = made_key(one.database_url, Role.USER, tenant="acme")
        assert ask(1, Authorization=f"Bearer {other}") not in first
        named = {"Idempotency-Key": "order-7"}
        assert ask(0, **named) == ask(0, **named)
        body["input"] = "other"
        about = {"Authorization": f"Bearer {one_key}", **named}
        told = http.post("/v1/responses", json=body, headers=about)
        assert (told.status_code, told.json()["error"]["code"]) == (400, "id_in_use")
        eventually(lambda: one.counts() == 5)


def test_who_goes_away_cancels_nothing(
    one: Stack, one_key: str, counted: Path, tmp_path: Path
) -> None:
    """The run goes on to its end, and what it cost is known."""
    about = {"Authorization": f"Bearer {one_key}"}
    with served(env_of(one), tmp_path) as http, ExitStack() as stack:
        said_to: Any = order(counted, 40, pause_s=0.02)
        bodies: dict[str, dict[str, Any]] = {
            "/v1/responses": {"input": said_to},
            "/v1/chat/completions": {"messages": [{"role": "user", "content": said_to}]},
        }
        for path, body in bodies.items():
            client = stack.enter_context(httpx2.Client(base_url=http.base_url, headers=about))
            asked = {"model": "recites", "stream": True, **body}
            with client.stream("POST", path, json=asked) as told:
                run_id = told.headers["x-request-id"]
                next(told.iter_bytes())
            with sdk(http.base_url, one_key) as ai:
                ended = eventually(partial(_completed, ai, f"resp_{run_id}"))
            assert ended.output_text == words(40)
            assert ended.usage.output_tokens == 40
    assert lines(counted) == ["paid", "paid"]


# -- Node


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A program that imports OpenAI's SDK for Node, beside where that is installed."""
    files = [NODE / name for name in ("package.json", "package-lock.json")]
    shutil.copy(NODE / "sdk.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(
        installed_by_npm("ci", "--ignore-scripts", files=files) / "node_modules"
    )
    return tmp_path / "sdk.mjs"


def test_the_sdk_for_node(stack: Stack, node: Path, tmp_path: Path) -> None:
    env = {name: stack.env[name] for name in ("REDIS_URL", "DATABASE_URL", "AGENTS_CONFIG")}
    with served(env, tmp_path) as http:
        base = f"{str(http.base_url).rstrip('/')}/v1"
        command = ["node", str(node), base, made_key(stack.database_url, Role.USER)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"shout", "triage"} <= set(told["models"])
    assert (told["chat"], told["vote"]) == ("HELLO", "yes")
    assert told["response"] == ["completed", "HELLO"]
    assert told["chunks"].strip() == told["helper"].strip() == words(30)
    assert told["streamed"] == words(30)
    assert told["numbers"] == [*range(len(told["numbers"]))]
    assert told["resumed"].strip() == words(60)
    assert (told["ended"], told["cancelled"]) == ("completed", "cancelled")
    assert told["error"] == ["NotFoundError", 404, "model_not_found"]


def test_tries_that_were_refused_are_no_way_round_a_limit(one: Stack, tmp_path: Path) -> None:
    """A try that the key's limit refused has asked for nothing: the next one counts as well."""
    key = made_key(one.database_url, Role.USER, tenant="acme", runs_per_s=1)
    about = {"Authorization": f"Bearer {key}", "x-stainless-retry-count": "1"}
    statuses: dict[str, list[int]] = {}
    with served(env_of(one), tmp_path) as http:
        began = time.monotonic()
        for text in "abcdef":
            body = {"model": "shout", "messages": [{"role": "user", "content": text}]}
            for _ in range(3):
                told = http.post("/v1/chat/completions", json=body, headers=about)
                statuses.setdefault(text, []).append(told.status_code)
        took_s = time.monotonic() - began
    assert sum(200 in found for found in statuses.values()) <= took_s + 2
    assert any(429 in found for found in statuses.values())
