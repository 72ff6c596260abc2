"""Breakers over a Redis that says what the test wants; test_breaker.py of integration has one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as AwayError
from redis.exceptions import NoScriptError, ResponseError

from agents.policies.breaker import BreakerPolicy
from app.admission import scripts as module
from app.admission.breakers import Admission, Breakers, Change, Switch
from app.admission.scripts import BATCH

ONE = Switch("agent:a", BreakerPolicy())
PASSES = [-1, 0, [], 0]
SOON = 20


class Redis:
    """Answers each write as it is told to; the first one only when it is let."""

    def __init__(self, answer: Callable[[str, str], Any]) -> None:
        self.answer = answer
        self.writes: list[list[str]] = []  # the calls of each
        self.loaded: list[str] = []
        self.busy = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def register_script(self, text: str) -> Any:
        return SimpleNamespace(script=text, sha=f"sha of {len(text)}")

    def script_load(self, text: str) -> None:
        self.loaded.append(f"sha of {len(text)}")

    def exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        asked = [(sha, arguments[2 * count :]) for _, sha, count, *arguments in commands]
        self.busy.set()
        assert self.gate.wait(SOON)
        self.writes.append([call for _, calls in asked for call in calls])
        return [self._answered(*one) for one in asked]

    def _answered(self, sha: str, calls: Sequence[str]) -> Any:
        found = [self.answer(sha, call) for call in calls]
        return next((one for one in found if isinstance(one, Exception)), found)


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "exchange", Redis.exchange)


def over(redis: Redis) -> Breakers:
    return Breakers(redis)  # type: ignore[arg-type]  # what it needs of a client


def away(*_: str) -> Any:
    raise AwayError("down")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "without Redis" in r.getMessage()]


def test_what_many_ask_meanwhile_is_one_write_in_order() -> None:
    redis = Redis(lambda _, call: [0, 7000, [], 0] if call == "c3" else PASSES)
    redis.gate.clear()
    breakers = over(redis)
    first = breakers.ask([ONE], "alone")
    assert redis.busy.wait(SOON)
    rest = [breakers.ask([ONE], f"c{n}") for n in range(5)]
    redis.gate.set()
    assert first.result(SOON) == Admission()
    refused = Admission(refused_by="agent:a", wait_s=7)
    assert [r.result(SOON) for r in rest] == [refused if n == 3 else Admission() for n in range(5)]
    assert redis.writes == [["alone"], ["c0", "c1", "c2", "c3", "c4"]]


def test_scripts_are_loaded_where_redis_lacks_them() -> None:
    redis = Redis(lambda sha, _: PASSES if sha in redis.loaded else NoScriptError("unknown"))
    breakers = over(redis)
    assert breakers.ask([ONE], "a").result(SOON) == Admission()
    assert breakers.ask([ONE], "b").result(SOON) == Admission()
    assert redis.writes == [["a"], ["a"], ["b"]]
    assert len(redis.loaded) == 3


def test_scripts_that_do_not_stay_are_loaded_once_for_each_write() -> None:
    redis = Redis(lambda *_: NoScriptError("unknown"))
    assert over(redis).ask([ONE], "a").result(SOON) == Admission()
    assert redis.writes == [["a"], ["a"]]


@pytest.mark.parametrize("probe", [False, True])
def test_changes_are_read_and_logged(probe: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    redis = Redis(lambda *_: [-1, 0, [[0, b"open", b"half_open"]], int(probe)])
    change = Change("agent:a", "open", "half_open")
    found = over(redis).ask([ONE], "c").result(SOON)
    assert found == Admission(probe=probe, changes=(change,))
    assert "The breaker of agent:a is half_open, was open" in caplog.text


def test_an_error_of_one_lets_it_pass_and_leaves_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    redis = Redis(lambda _, call: ResponseError("full") if call == "a" else [0, 1000, [], 0])
    breakers = over(redis)
    found = [breakers.ask([ONE], call).result(SOON).refused_by for call in ("a", "b", "a")]
    assert found == [None, "agent:a", None]
    assert said(caplog) == ["Breakers let calls through without Redis: ResponseError: full"]


def test_while_redis_is_away_it_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    redis = Redis(away)
    redis.gate.clear()
    breakers = over(redis)
    many = [breakers.ask([ONE], f"{n}") for n in range(2 * BATCH)]
    redis.gate.set()
    assert {r.result(SOON) for r in many} == {Admission()}
    assert list(breakers.tell([ONE], "c", ["bad"]).result(SOON)) == []
    assert breakers.refusing([ONE]) == set()
    assert len(redis.writes) == 1
    assert len(said(caplog)) == 1


def test_a_while_later_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.0)
    redis = Redis(away)
    breakers = over(redis)
    assert breakers.ask([ONE], "a").result(SOON) == Admission()
    redis.answer = lambda *_: [0, 1000, [], 0]
    assert breakers.ask([ONE], "b").result(SOON).refused_by == "agent:a"
