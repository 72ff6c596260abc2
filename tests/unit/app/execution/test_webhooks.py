"""Deliveries against a receiver that hangs, refuses, or is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.execution import webhooks
from app.execution.webhooks import Webhooks
from app.settings import Settings
from celery_agents.contracts.outcome import Answer, Outcome, State
from celery_agents.contracts.patterns import Delivery
from celery_agents.errors import ProviderUnavailableError, RateLimitedError
from deploy.local.servers import LOOPBACK
from tests.support.receiver import SECRET, Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def deliveries(monkeypatch: pytest.MonkeyPatch) -> Webhooks:
    monkeypatch.setenv("HOOK", SECRET)
    settings = Settings(webhook_secrets=("HOOK",), private_hosts=(LOOPBACK,))
    undoing = SimpleNamespace(told=lambda _: ("hello", "HELLO"))
    runtime = SimpleNamespace(settings=settings, journal=SimpleNamespace(undoing=undoing))
    return Webhooks(cast("Any", runtime))


class Step:
    """One of a run, in its last attempt or not."""

    run_id, step_id, tenant, attempt = "r", "m", "", 3

    def __init__(self, *, over: bool = False) -> None:
        self.over = over

    async def call(self, _name: str, perform: Any) -> Answer:
        found: Answer = await perform("key")
        return found


def asked(url: str, **to: Any) -> Delivery:
    event = {"type": "run.succeeded", "data": {"id": "r"}}
    return Delivery.model_validate({"to": {"url": url, **to}, "event": event})


async def told(deliveries: Webhooks, url: str, *, over: bool = False, **to: Any) -> Any:
    return await deliveries.deliver(cast("Any", Step(over=over)), asked(url, **to))


def test_the_answer_goes_along_where_it_is_wanted(deliveries: Webhooks, receiver: Receiver) -> None:
    async def both() -> None:
        assert (await told(deliveries, receiver.url, value=True)).value == {"status": 204}
        await told(deliveries, receiver.url)

    asyncio.run(both())
    assert [got.event["data"] for got in receiver.got] == [
        {"id": "r", "value": "HELLO"},
        {"id": "r"},
    ]


#: Statuses, in the last attempt or not, with which a delivery is given up or not.
GIVEN_UP = [(503, False, False), (404, False, False), (301, False, False)]
GIVEN_UP += [(503, True, True), (410, False, True)]


@pytest.mark.parametrize(("status", "over", "dead"), GIVEN_UP)
def test_who_comes_again(
    deliveries: Webhooks, receiver: Receiver, status: int, *, over: bool, dead: bool
) -> None:
    receiver.statuses.append(status)
    if not dead:
        with pytest.raises(ProviderUnavailableError, match=str(status)):
            asyncio.run(told(deliveries, receiver.url, over=over))
        return
    outcome = asyncio.run(told(deliveries, receiver.url, over=over))
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.DEAD
    assert outcome.error is not None
    assert str(status) in outcome.error.message


def test_one_that_hangs_is_asked_by_one_at_a_time(
    deliveries: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "LIMIT_S", 0.3)
    receiver.answers.clear()

    async def many(number: int) -> list[Any]:
        tries = [told(deliveries, receiver.url) for _ in range(number)]
        return [type(e) for e in await asyncio.gather(*tries, return_exceptions=True)]

    async def rounds() -> None:
        assert await many(3) == [ProviderUnavailableError] * 3  # nobody knew
        assert sorted(t.__name__ for t in await many(3)) == [
            "ProviderUnavailableError",
            "RateLimitedError",
            "RateLimitedError",
        ]
        receiver.answers.set()
        await told(deliveries, receiver.url)
        assert RateLimitedError not in await many(3)  # it answers again

    asyncio.run(rounds())
