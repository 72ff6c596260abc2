"""Attempts without Celery: on a real journal, or on claims that are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete

from agents.plan import Expand, Member
from app.execution.attempts.attempt import Attempt, Received, attempted, next_try_s
from app.execution.attempts.ends import Again, Ended, Ending, Left
from app.execution.runtime import Active, Runtime
from app.journal.schema.models import Step
from app.journal.schema.rows import Claimed, LazyPayload, NewStep, derived_id
from app.journal.steps.shared import LEAST
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import Answer, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    BreakerOpenError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.support.claims import claim

NEW = NewStep("s", "s", "test", "agents", {"args": [1], "kwargs": {}}, max_attempts=4)
REFUSED = {"breaker_open": BreakerOpenError, "rate_limited": RateLimitedError}


class Code:
    """A kind of step that returns or raises what it was given."""

    name = "test"

    def __init__(self, what: Any) -> None:
        self.what = what
        self.parsed = 0

    def run(self, _step: Any, _request: Any) -> Any:
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what

    def is_brief(self, _: Any) -> bool:
        return False

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        self.parsed += 1
        return StepOptions.from_message(args, kwargs, known=known)


def attempt(runtime: Runtime, claim: Claimed) -> Attempt:
    return Attempt(runtime, Code(None), Received(claim.id), claim, Active(claim))


def tried(runtime: Runtime, code: Code, active: Active | None = None, new: NewStep = NEW) -> Ending:
    """The end of an attempt at a new step."""
    asked = Received(new.id, new, code.parse(new.payload["args"], new.payload["kwargs"]))
    return attempted(runtime, code, asked, active or Active())


# ---------------------------------------------------------------- one ending for each result


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (5, State.SUCCEEDED),
        (None, State.SUCCEEDED),
        (Answer(value="x", usage=Usage(calls=1)), State.SUCCEEDED),
        (Outcome(state=State.SKIPPED), State.SKIPPED),
        (AgentFailedError("no"), State.FAILED),
        (ValueError("no"), State.FAILED),
    ],
)
def test_what_ends_a_step(runtime: Runtime, what: Any, state: State) -> None:
    ending = tried(runtime, Code(what))
    assert isinstance(ending, Ended)
    assert (ending.outcome.state, ending.claim.token, ending.other) == (state, 1, False)
    copy = tried(runtime, Code("another"))
    assert isinstance(copy, Ended)
    assert copy.outcome == ending.outcome


@pytest.mark.parametrize(
    ("what", "cancelled", "kind"),
    [
        (ProviderUnavailableError("down"), False, Again),
        (ProviderUnavailableError("down", {"retry_after_s": 500}), False, Left),
        (ProviderUnavailableError("down"), True, Ended),
        (RateLimitedError("slowly"), False, Again),
        (RateLimitedError("slowly"), True, Ended),
        (Expand(members=(Member(key="m", task="t", input=1, options={}),)), False, Left),
    ],
)
def test_what_may_go_on(runtime: Runtime, what: Any, cancelled: bool, kind: type) -> None:
    ending = tried(runtime, Code(what), Active(cancelled=cancelled))
    assert type(ending) is kind
    if isinstance(ending, Ended):
        assert ending.outcome.state is State.CANCELLED
    if isinstance(ending, Again):
        assert ending.error is what


def test_a_payload_is_parsed_once_and_decoded_when_it_is_looked_into(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[LazyPayload] = []
    plain = LazyPayload._all

    def looked(self: LazyPayload) -> dict[str, Any]:
        decoded.append(self)
        return plain(self)

    monkeypatch.setattr(LazyPayload, "_all", looked)
    first = Code(ProviderUnavailableError("down"))  # whose policy is read as well
    ending = tried(runtime, first)
    assert isinstance(ending, Again)
    assert (first.parsed, decoded) == (1, [])
    assert ending.claim.payload == NEW.payload
    assert decoded


@pytest.mark.parametrize("payload", [{"args": [1], "kwargs": {"a": "é"}}, {}, {"args": []}])
def test_a_payload_is_the_mapping_that_its_text_says(payload: Mapping[str, Any]) -> None:
    read = LazyPayload(json.dumps(payload))
    assert read == payload
    assert (bool(read), len(read), list(read)) == (bool(payload), len(payload), list(payload))
    assert read.get("args", ()) == payload.get("args", ())


LONG = {"agent": "a", "instructions": "i" * 2 * LEAST}
VOTE = replace(NEW, payload={"args": ["q" * 2 * LEAST], "kwargs": LONG})


class Hears(Code):
    """One that keeps what it is asked."""

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        self.heard = (args, kwargs)
        return StepOptions()


@pytest.mark.parametrize("gone", [False, True])
def test_a_member_hears_what_stands_in_its_parents_row(runtime: Runtime, *, gone: bool) -> None:
    told = VOTE.payload["args"][0]
    asks = Member(key="m", task="t", input=told, options={"deadline_s": 9, **LONG})
    assert isinstance(tried(runtime, Hears(Expand(members=(asks,))), new=VOTE), Left)
    if gone:
        forget = delete(Step).where(Step.id == "s")
        runtime.journal.transaction(lambda c: c.execute(forget))
    member = Hears("yes")
    ending = attempted(runtime, member, Received(derived_id("s", "m")), Active())
    if gone:
        assert isinstance(ending, Left)
        assert "is gone" in ending.why
        assert not hasattr(member, "heard")
    else:
        assert isinstance(ending, Ended)
        assert member.heard == ([told], asks.options)


# ---------------------------------------------------------------- when it comes again


def next_try(runtime: Runtime, made: Claimed, error: Any) -> Any:
    retry = attempt(runtime, made).request.retry
    return next_try_s(error, made, retry, runtime.settings.refusal_limit_s)


AWAY = ProviderUnavailableError("")
AWAY_7 = ProviderUnavailableError("", {"retry_after_s": 7})


@pytest.mark.parametrize(
    ("change", "error", "delay"),
    [
        ({}, AWAY, (0, 1)),
        ({"attempt": 3}, AWAY, (0, 2)),
        ({"attempt": 4}, AWAY, None),
        ({}, AWAY_7, (7, 8)),
        ({}, ProviderUnavailableError("", {"retry_after_s": 10**9}), (3600, 3601)),
        ({"remaining_s": 5}, AWAY_7, None),
        ({"remaining_s": -1}, AWAY, None),
        ({"remaining_s": 30}, AWAY_7, (7, 8)),
    ],
)
def test_the_delay_before_the_next_attempt(
    runtime: Runtime, change: dict[str, Any], error: Any, delay: Any
) -> None:
    found = next_try(runtime, claim(**change), error)
    if delay is None:
        assert found is None
    else:
        assert delay[0] <= found <= delay[1]


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize(
    ("change", "retry_after_s", "delay"),
    [
        ({"attempt": 4, "token": 4}, 9, (9, 13)),  # no attempt, so it is not the last one
        ({"attempt": 1, "token": 90}, 9, (9, 39)),  # less often each time
        ({"attempt": 1, "token": 50_000}, 9, (9, 39)),  # no number is too many
        ({"attempt": 1, "token": 50_000}, None, (0, 30)),
        ({"token": 90, "remaining_s": 8}, 9, None),  # its time is over before
        ({"token": 90, "remaining_s": 10}, 9, (9, 10)),  # jitter takes it no further
        ({"token": 90, "remaining_s": -1}, None, None),
        ({"token": 1}, 10**9, (3600, 3601)),
    ],
)
def test_the_delay_after_a_refusal(
    runtime: Runtime, *, kind: str, change: Any, retry_after_s: Any, delay: Any
) -> None:
    details = {} if retry_after_s is None else {"retry_after_s": retry_after_s}
    found = next_try(runtime, claim(**change), REFUSED[kind]("", details))
    if delay is None:
        assert found is None
    else:
        assert delay[0] <= found <= delay[1]
