"""Distrust on its way from run to run: real workers, and one of another app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from celery_agents import Client
from celery_agents.sealing import KEYS
from tests.integration.conftest import SHOP
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually
from tests.support.fernet import fernet_key

pytestmark = pytest.mark.databases("postgres")

CONFIG = """
[memory.customers]
space = "all"
write_untrusted = "allow"
"""
PRIVATE = fernet_key("here")


class Trusting(Stack):
    """A stack whose agents read what others wrote, and keep what they are told."""

    def __init__(self, redis_url: str, url: str, at: Path, *keys: str, **more: str) -> None:
        config = at / "agents.toml"
        config.write_text(CONFIG)
        env = {"AGENTS_MODULES": '["tests.support.trusting"]', "AGENTS_CONFIG": str(config)}
        super().__init__(redis_url, url, at, FAST | env | more | {KEYS: ",".join(keys)})
        self.client.close()
        self.client = Client(redis_url, fernet_keys=keys)
        self.worker()

    def ask(self, agent: str, told: Any = None, **more: Any) -> Any:
        """A link of a canvas."""
        args = () if told is None else (told,)
        return self.client.ask.s(agent, *args, **more)

    def kept(self) -> dict[str, int]:
        """What is remembered, with its trust."""
        found = self.client.memory.export("customers", timeout=SOON_S)
        return {memory.text: memory.trust for memory in found}


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Trusting]:
    made = Trusting(*location, AGENTS_CACHE_LOCAL_MAX="0")  # it could not be emptied
    yield made
    made.close()


@pytest.fixture
def stack(_common: Trusting) -> Trusting:
    """A stack that tests share, with nothing in its memory and in its cache."""
    _common.client.memory.forget("customers", everything=True, timeout=SOON_S)
    for key in _common.redis.scan_iter("agents:cache:*"):
        _common.redis.delete(key)
    return _common


@pytest.fixture
def own(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Trusting]:
    made = Trusting(redis_url, database_url, tmp_path)
    yield made
    made.close()


def done(result: Any) -> Any:
    return result.apply_async().get(timeout=SOON_S)


def test_what_follows_who_read_it_is_trusted_no_more(stack: Trusting) -> None:
    ask, keep = stack.ask, stack.ask("keeping")
    handed_on = stack.client.celery.signature("tests.handed_on", queue="agents")
    done(chain(ask("stranger", "next"), keep))
    done(chain(ask("asking", "by another"), keep))
    done(chain(ask("stranger", "far behind"), ask("known"), ask("known"), keep))
    done(chain(ask("keeping", "in front"), ask("stranger"), ask("known")))
    done(chain(ask("stranger", "behind a task"), handed_on, keep))
    done(chord([ask("stranger", "a"), *(ask("known", w) for w in "bcd")], keep))
    done(chain(ask("stranger", "spread"), group(keep, ask("known"))))
    linked = ask("stranger", "linked")
    linked.link(keep.clone())
    done(linked)
    done(chain(ask("known", "clean"), ask("known"), handed_on.clone(), keep))
    done(chord([ask("known", w) for w in "ef"], keep))
    wanted = {
        "next": 1,
        "by another": 1,
        "Far Behind": 1,
        "in front": 2,
        "behind a task": 1,
        "['a', 'B', 'C', 'D']": 1,
        "spread": 1,
        "linked": 1,
        "Clean": 2,
        "['E', 'F']": 2,
    }
    eventually(lambda: stack.kept().keys() == wanted.keys(), "all are kept")
    assert stack.kept() == wanted


def test_behind_a_task_of_another_app_too(stack: Trusting) -> None:
    stack.worker(SHOP, app="tests.support.sample_app", ready=False)
    answer = stack.client.celery.signature("shop.answer", queue="shop")
    keep = stack.ask("keeping")
    done(chain(stack.ask("stranger", "x"), answer, keep))
    done(chain(stack.ask("known", "y"), stack.ask("stranger"), answer.clone(), keep))
    done(chain(stack.ask("known", "z"), answer.clone(), keep))
    assert stack.kept() == {"shop says: x": 1, "shop says: Y": 1, "shop says: Z": 2}


def test_an_answer_out_of_a_cache_is_trusted_as_who_gave_it(own: Trusting) -> None:
    def ask(of: str, text: str, run: str, **more: Any) -> None:
        order: Any = {"of": of, "text": text, "run": run}
        own.client.ask("caching", order, **more).get(timeout=SOON_S)

    runs = ("one", "two", "three")
    for run in runs:
        ask("looked_up", "read", run)
        ask("heard", "Heard", run)
        ask("known", "known", run)
    trusted = {"READ": 1, "heard": 1, "Known": 2}
    wanted = {f"{t} of {r}": trust for t, trust in trusted.items() for r in runs}
    assert own.kept() == wanted

    def hits() -> dict[str, int]:
        states = own.client.cache.list(timeout=SOON_S)
        return {s.name: s.shared_hits + s.local_hits for s in states}

    eventually(lambda: hits() == {"heard": 2, "known": 2, "looked_up": 2}, "all others were served")


def test_a_run_that_goes_on_with_another_is_trusted_as_that_is(stack: Trusting) -> None:
    run = stack.client.start("reading", "flowed")
    assert run.get(timeout=SOON_S) == "flowed"
    assert stack.kept() == {"flowed": 1}
    stack.client.memory.forget("customers", everything=True, timeout=SOON_S)
    again = stack.client.fork(run, after="read")
    assert again.get(timeout=SOON_S) == "flowed"
    assert stack.kept() == {"flowed": 1}


def test_a_map_that_is_resumed_is_trusted_as_what_it_takes_over(stack: Trusting) -> None:
    orders: list[Any] = [{"text": "a"}, {"text": "b", "fails": True}]
    first = stack.client.map("failing", orders)
    eventually(lambda: stack.state(first.id) in {"failed", "succeeded"}, "it has ended")
    link = stack.client.map.resume(first.id, agent="keeping")
    link.get(timeout=SOON_S)
    assert list(stack.kept().values()) == [1]


def test_with_keys_too(redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> None:
    stack = Trusting(redis_url, sqlite_journal_url, tmp_path, PRIVATE)
    try:
        done(chain(stack.ask("stranger", "x"), stack.ask("known"), stack.ask("keeping")))
        done(chain(stack.ask("known", "y"), stack.ask("keeping")))
        assert stack.kept() == {"X": 1, "Y": 2}
    finally:
        stack.close()


def test_a_session_remembers_that_what_was_said_came_of_others(stack: Trusting) -> None:
    """Its message was claimed from its row, at its first try."""
    done(chain(stack.ask("stranger", "x"), stack.ask("known", session="odd")))
    done(chain(stack.ask("known", "y"), stack.ask("known", session="clean")))
    for session in ("odd", "clean"):
        stack.client.ask("keeping", session, session=session).get(timeout=SOON_S)
    assert stack.kept() == {"odd": 1, "clean": 2}
