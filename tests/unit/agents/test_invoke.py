from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

import agents.invoke
from agents.invoke import called_here, failure, invoke, is_async, place_of
from agents.net.sdks import sdk_failure
from celery_agents.errors import AgentFailedError, AgentsError, RateLimitedError
from celery_agents.noted import Notes

SECRET = "hunter2hunter2"


def test_a_sync_function_may_return_an_awaitable() -> None:
    async def later() -> int:
        return 5

    assert asyncio.run(invoke(lambda: later())) == 5  # noqa: PLW0108 - a sync function is wanted


@pytest.mark.parametrize("error", [SystemExit(2), StopIteration(), asyncio.CancelledError()])
def test_errors_that_would_stop_the_loop_become_plain_ones(error: BaseException) -> None:
    def fails() -> Any:
        raise error

    async def bounded() -> None:
        await asyncio.wait_for(invoke(fails), 20)

    with pytest.raises(RuntimeError, match=type(error).__name__):
        asyncio.run(bounded())


def test_is_async() -> None:
    class Both:
        async def __call__(self) -> None: ...

    assert is_async(Both())
    assert is_async(Both().__call__)
    assert not is_async(Both)
    assert not is_async(print)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("x"), "unavailable"),
        (TimeoutError("x"), "unavailable"),
        (FileNotFoundError("x"), "agent_failed"),
        (PermissionError("x"), "agent_failed"),
        (ValueError("x"), "agent_failed"),
    ],
)
def test_errors_of_users_code_become_ours(error: Exception, kind: str) -> None:
    found = failure("mine", error)
    assert (found.kind, found.message) == (kind, f"mine raised {type(error).__name__}: x")
    assert found.details == {"where": "unknown"}


@pytest.mark.parametrize("ours", [failure, sdk_failure])
def test_what_code_should_not_raise_is_in_the_log_and_where(
    ours: Callable[[str, Exception], AgentsError],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents.invoke, "note", Notes().note)

    def fails() -> None:
        raise ValueError(f"token={SECRET}")

    with pytest.raises(ValueError, match="token") as caught:
        fails()
    for who in ("mine", "mine", "other"):
        assert ours(who, caught.value).kind == "agent_failed"
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    for record, who in zip(caplog.records, ("mine", "other"), strict=True):
        told = record.getMessage()
        assert told.startswith(f"{who} failed: ValueError")
        assert "in fails" in told
        assert SECRET not in told


@pytest.mark.parametrize(
    "error", [ConnectionError("x"), AgentFailedError("x"), RateLimitedError("x")]
)
def test_what_is_expected_is_not_in_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    for ours in (failure, sdk_failure):
        ours("expected", error)
    assert not caplog.records


def test_place_of() -> None:
    def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$") as caught:
        fails()
    assert place_of(caught.value).startswith("test_invoke.py:")
    assert place_of(caught.value).endswith("in fails")
    assert place_of(ValueError("never raised")) == "unknown"


def test_many_quick_calls_leave_the_loop_to_others_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(agents.invoke, "_clock", lambda: now)

    def quick() -> None:
        nonlocal now
        now += 0.002

    async def main() -> list[float]:
        begun: list[float] = []

        async def others() -> None:
            while True:
                begun.append(now)
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await asyncio.gather(*(called_here(quick) for _ in range(100)))
        beside.cancel()
        return begun

    begun = asyncio.run(main())
    assert now == pytest.approx(0.2)
    held = [after - before for before, after in itertools.pairwise(begun)]
    assert max(held) <= 0.008
