"""Calls of the client for a type checker; nobody runs them.

A line with ``type: ignore`` is one that a checker has to refuse: mypy tells of one that it lets
pass, since there is nothing to ignore in it (``warn_unused_ignores``, a part of its ``strict``).
"""

from __future__ import annotations

import uuid
from typing import Any, assert_type

from pydantic import BaseModel

from celery_agents import (
    Aggregate,
    Candidate,
    Client,
    Decision,
    DecisionRun,
    MapResult,
    RetryPolicy,
    Run,
    Voter,
    agent,
)
from celery_agents.client.options import VoteOptions


class Invoice(BaseModel):
    """An answer."""

    total: float


class Refusal(BaseModel):
    """Another one."""

    why: str


@agent(effects="pure")
def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()


def right(agents: Client, names: list[str]) -> None:
    """All of these are served."""
    retry = RetryPolicy(max_attempts=2)
    assert_type(agents.ask("gpt", "x", retry=retry, timeout_s=5, id=uuid.uuid4()).get(), Any)
    assert_type(agents.ask("gpt", "x", retry={"max_attempts": 2}, answer_schema={}), Run[Any])
    assert_type(agents.ask("gpt", "x", answer=Invoice), Run[Invoice])
    assert_type(agents.ask("gpt", "x", answer=Invoice, priority=1).get().total, float)
    assert_type(agents.ask.many("gpt", ["x"], answer=Invoice)[0].get(timeout=1), Invoice)
    assert_type(agents.ask("gpt", "x", answer=Invoice | Refusal), Run[Invoice | Refusal])
    assert_type(agents.ask("gpt", "x", answer=list[Invoice]).get(), list[Invoice])
    assert_type(agents.ask("gpt", "x", answer=int | None).get(), int | None)
    assert_type(agents.runs.handle("r", Invoice | Refusal), Run[Invoice | Refusal])
    assert_type(
        agents.fallback(["a", Candidate(agent="b")], "x", answer=list[int]).get(), list[int]
    )
    assert_type(agents.vote(names, "x", rule="borda", quorum="1/2", waves=3).get(), Decision)
    assert_type(agents.vote([Voter(agent="a")], "x", rule={"kind": "lead"}, escalate="b").id, str)
    assert_type(agents.vote.many(names, ["x"], timeout_s=None)[0].get().option, str | None)
    assert_type(agents.gather(names, "x", how="best", judge="a").get(), Aggregate)
    assert_type(agents.map("gpt", range(3), on_failure="stop").get(), MapResult)
    assert_type(agents.runs.handle("r", Decision).get(), Decision)
    assert_type(agents.runs.collect([agents.ask("gpt", "x", answer=Invoice)]), list[Invoice])
    assert_type(agents.runs.collect(agents.vote.many(names, ["x"])), list[Decision])
    for event in agents.ask("gpt", "x", answer=Invoice | Refusal, stream=True).events():
        assert_type(event.value, Invoice | Refusal | None)
    options: VoteOptions = {"rule": "majority", "timeout_s": 5}
    agents.vote(names, "x", **options)
    agents.ask.s("gpt", timeout_s=5, answer=Invoice)
    # by their earlier names
    assert_type(next(agents.as_completed(agents.vote.many(names, ["x"]))).get(), Decision)
    assert_type(agents.status("r", timeout=1), dict[str, Any] | None)
    assert_type(agents.dead_letters(5), list[dict[str, Any]])
    assert_type(Run(agents, "r").get(), Any)
    assert_type(DecisionRun(agents, "r").get(), Decision)


async def twins(agents: Client) -> None:
    """The same on an event loop."""
    run = await agents.ask.aio("gpt", "x", answer=Invoice)
    assert_type(run, Run[Invoice])
    assert_type(await run, Invoice)
    assert_type(await (await agents.vote.aio(["a"], "x")), Decision)
    assert_type((await agents.map.aio("gpt", [1])).id, str)
    assert_type(await agents.ask.aio("gpt", "x", answer=list[int | str]), Run[list[int | str]])
    await agents.ask.aio("gpt", "x", retrry={})  # type: ignore[call-overload]
    await agents.vote.aio_many(["a"], ["x"], rule="majorityy")  # type: ignore[arg-type]


def wrong(agents: Client, names: list[str]) -> None:
    """Nothing of these is served."""
    agents.ask("gpt", "x", retrry=RetryPolicy())  # type: ignore[call-overload]
    agents.ask("gpt", "x", timeout_s="abc")  # type: ignore[call-overload]
    agents.ask("gpt", "x", answer=Invoice, timeout="abc")  # type: ignore[call-overload]
    agents.ask("gpt", "x", retry={"max_attemps": 2})  # type: ignore[call-overload]
    agents.ask("gpt", "x", when_open="fial")  # type: ignore[call-overload]
    agents.ask("gpt", "x", answer={"type": "object"})  # type: ignore[call-overload]
    agents.ask("gpt", object())  # type: ignore[call-overload]
    agents.ask.s("gpt", "x", chioces=["a"])  # type: ignore[call-arg]
    agents.ask.many("gpt", ["x"], choices="yes")  # type: ignore[call-overload]
    agents.fallback(names, "x", strategy="sequentail")  # type: ignore[call-overload]
    agents.vote(names, "x", rule="majorityy")  # type: ignore[arg-type]
    agents.vote(names, "x", tie="coin")  # type: ignore[arg-type]
    agents.vote(names, "x", on_failure="stop")  # type: ignore[call-arg]
    agents.vote.s(names, stop=3)  # type: ignore[arg-type]
    agents.gather(names, "x", how="mena")  # type: ignore[arg-type]
    agents.map("gpt", ["x"], wave="3")  # type: ignore[arg-type]
    agents.vote(names, "x").get().opinion  # type: ignore[attr-defined]  # noqa: B018
    either = agents.ask("gpt", "x", answer=Invoice | Refusal).get()
    either.total  # type: ignore[union-attr]  # noqa: B018
    agents.ask("gpt", "x", answer=Invoice).get().sum  # type: ignore[attr-defined]  # noqa: B018
    agents.map("gpt", ["x"]).get().option  # type: ignore[attr-defined]  # noqa: B018
    agents.runs.handel("r")  # type: ignore[attr-defined]
    agents.vote.mnay(names, ["x"])  # type: ignore[attr-defined]
    agents.cancel(7)  # type: ignore[arg-type]
    agents.collect([agents.ask("gpt", "x")], time_out=1)  # type: ignore[call-arg]
    agents.dead_letters("all")  # type: ignore[arg-type]
