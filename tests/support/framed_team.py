"""Models of a team in another library, and what a test does to the worker that runs it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from celery_agents import RetryPolicy, Run
from celery_agents.errors import UncertainCallError
from tests.fakes.model_server import Does, ModelServer, Seen
from tests.integration.harness import SOON_S, Stack, eventually, lines

#: Each kill is an attempt.
MANY = RetryPolicy(max_attempts=10, base_delay_s=0.01)


class Team(ModelServer):
    """Plays the models of a lead and of those that it asks, by what they are told.

    Args:
        to: the argument of the tool that delegates.
        over: the agent that the lead hands over to in the end, if it does.
    """

    def __init__(self, to: str = "to", over: str | None = None) -> None:
        super().__init__()
        self._to = to
        self._over = over
        self.hangs = Counter[str]()  # requests that are to hang, and how often

    def next(self, seen: Seen) -> Does:
        super().next(seen)
        told = seen.body["messages"]
        results = [m["content"] for m in told if m["role"] == "tool"]
        topic = next(m["content"] for m in told if m["role"] == "user")
        what = f"{topic}/{len(results)}"
        if self.hangs[what]:
            self.hangs[what] -= 1
            return Does(hang=True)
        if topic == "go":
            does = self._leads(len(results))
        else:
            does = Does(text=f"{topic} done") if results else Does(tool=("dig", {"at": topic}))
        return replace(does, turn=f"{topic}_{len(results)}_")

    def _leads(self, results: int) -> Does:
        if not results:
            return self._delegates(*"abc")
        if results == 3:
            return Does(tool=("pay", {"cents": 7}))
        if self._over and results == 4:
            return Does(tool=(f"transfer_to_{self._over}", {}))
        return Does(text="all done")

    def _delegates(self, *topics: str) -> Does:
        return Does(tools=tuple(("delegate", {self._to: t}) for t in topics))


class Diggers(ModelServer):
    """Plays the model of tests/support/framed_langgraph.py."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = Counter[str]()

    def next(self, seen: Seen) -> Does:
        super().next(seen)
        what = str(seen.body["messages"][-1]["content"])
        if self.hangs[what]:
            self.hangs[what] -= 1
            return Does(hang=True)
        return Does(text=f"{what}!")


M = TypeVar("M", bound=ModelServer)


@contextmanager
def playing(team: M) -> Iterator[M]:
    """Have it answer."""
    threading.Thread(target=team.serve_forever, daemon=True).start()
    try:
        yield team
    finally:
        team.close()


def through_kills(stack: Stack, team: Team, book: Path) -> Run[Any]:
    """Kill workers amid a sub-agent, amid the lead, and while a person is waited for.

    What was finished is neither paid nor done again; the run has its answer.
    """
    team.hangs = Counter({"b/1": 1, "go/3": 1})
    worker = stack.worker()
    run = stack.client.ask("lead", "go", retry=MANY)
    for what in ("b/1", "go/3"):
        eventually(lambda w=what: not team.hangs[w], f"{what} hangs")  # type: ignore[misc]
        # Those beside it are over and written down.
        eventually(lambda: _open_calls(stack, run.id) <= 2, "others have ended")
        worker.kill()
        worker = stack.worker()
    (wish,) = eventually(lambda: run.waiting(timeout=SOON_S))
    worker.kill()
    stack.worker()
    stack.client.runs.approve(run.id, True, key=wish.key)
    assert run.get(timeout=2 * SOON_S) == "all done"
    assert Counter(lines(book)) == {"dig a": 1, "dig b": 1, "dig c": 1, "pay 7": 1}
    return run


def asked(server: ModelServer) -> Counter[str]:
    """The last messages of its requests, and how often each came."""
    return Counter(str(seen.body["messages"][-1]["content"]) for seen in server.requests)


def a_graph_through_kills(stack: Stack, diggers: Diggers, book: Path) -> None:
    """Kill workers amid a node beside others, while a person is waited for, and amid the last one.

    What was finished is neither paid nor done again.
    """
    diggers.hangs = Counter({"b/1": 1, "close": 1})
    worker = stack.worker()
    run = stack.client.ask("dig", {"dug": []}, retry=MANY)
    eventually(lambda: not diggers.hangs["b/1"] and len(lines(book)) == 2, "b/1 hangs")
    worker.kill()
    worker = stack.worker()
    (wish,) = eventually(lambda: run.waiting(timeout=SOON_S))
    assert wish.question == {"found": 6}
    worker.kill()
    worker = stack.worker()
    stack.client.runs.approve(run.id, 7, key=wish.key)
    eventually(lambda: not diggers.hangs["close"], "close hangs")
    worker.kill()
    stack.worker()
    value = run.get(timeout=2 * SOON_S)
    assert sorted(value["dug"]) == [*(f"{n}/{i}!" for n in "abc" for i in range(2)), "close!"]
    # Each request once, and the two that hung once more.
    assert asked(diggers) == {
        **{f"{n}/{i}": 1 for n in "abc" for i in range(2)},
        "b/1": 2,
        "close": 2,
    }
    done = Counter(lines(book))
    assert done["paid 7"] == done["dug b"] == 1
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.usage.calls == 7
    assert outcome.usage.cost_usd == pytest.approx(7 * 140 / 1e6)


def asked_again(stack: Stack, run: Run[Any], team: ModelServer) -> set[str]:
    """Keys of the requests that came more than once: none of them was finished before.

    Those that hung are among them; on a busy machine others may be under way, too, when a worker
    is killed or loses its lease, and come again.
    """
    assert stack.calls_made_twice() == 0
    times = Counter(seen.headers["idempotency-key"] for seen in team.requests)
    begun = Counter(call.idempotency_key for call in stack.calls(run.id))
    assert {key: n for key, n in times.items() if n > begun[key]} == {}
    return {key for key, n in times.items() if n > 1}


def amid_an_approved_tool(stack: Stack, book: Path) -> None:
    """Kill a worker amid a tool that a person has approved: it is not done again."""
    hold = book.with_suffix(".hold")
    hold.touch()
    worker = stack.worker()
    run = stack.client.ask("lead", "go", retry=MANY)
    (wish,) = eventually(lambda: run.waiting(timeout=SOON_S))
    stack.client.runs.approve(run.id, True, key=wish.key)
    eventually(lambda: "pay 7" in lines(book), "it pays")
    worker.kill()
    hold.unlink()
    stack.worker()
    with pytest.raises(UncertainCallError, match="nobody knows whether it was done"):
        run.get(timeout=2 * SOON_S)
    assert lines(book).count("pay 7") == 1


def _open_calls(stack: Stack, step_id: str) -> int:
    """Calls under way of the newest attempt: a request, and the tool that it stands in."""
    calls = stack.calls(step_id)
    newest = max((c.token for c in calls), default=0)
    return sum(c.token == newest and c.finished_at is None for c in calls)
