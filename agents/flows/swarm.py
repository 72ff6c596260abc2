"""The built-in flow that does what a swarm is asked: each question is a step of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

from agents.flows.dealing import Dealing
from agents.flows.run import FlowContext
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.flows.topics import MESSAGE, TOPIC
from celery_agents.contracts.teams.swarm import (
    NEWS,
    PRIORITY,
    STREAM,
    SWARM,
    Agreeing,
    Broadcast,
    Broadcasting,
    Consensus,
    SwarmFailure,
    SwarmNews,
    WorkDone,
    Working,
    news_of,
    request_of,
)
from celery_agents.contracts.vote import Decision
from celery_agents.errors import AgentsError, InvalidPayloadError, NoDecisionError
from celery_agents.flow import flow

_Answer = tuple[Any, SwarmFailure | None]


@flow(name=SWARM)
async def swarm(run: FlowContext, told: Any) -> Any:
    """Do what a swarm is asked; that some of its members fail is told, and no failure of its."""
    asked = request_of(told)
    if isinstance(asked, Agreeing):
        return (await _agreed(run, asked)).compact()
    if isinstance(asked, Working):
        return (await _worked(run, asked)).compact()
    return (await _broadcast(run, asked)).compact()


async def _answered(
    run: FlowContext, agent: str, value: Any, key: str, timeout_s: float | None
) -> _Answer:
    try:
        return await run.ask(agent, value, key=key, deadline_s=timeout_s), None
    except AgentsError as error:
        return None, SwarmFailure(kind=error.kind, message=error.message)


async def _broadcast(run: FlowContext, asked: Broadcasting) -> Broadcast:
    body: JsonValue = {"input": asked.input, "sender": asked.sender, "run_id": run.id}
    message: dict[str, JsonValue] = {"body": body, "priority": PRIORITY}
    run.emit(TOPIC + STREAM + asked.swarm, MESSAGE, message, key=f"@{run.id}")
    asks = {
        name: asyncio.create_task(
            _answered(run, agent, asked.input, f"member-{name}"[:180], asked.timeout_s)
        )
        for name, agent in asked.members.items()
    }
    found = {name: await task for name, task in asks.items()}
    return Broadcast(
        answers={name: value for name, (value, failed) in found.items() if failed is None},
        failures={name: failed for name, (_, failed) in found.items() if failed is not None},
    )


async def _agreed(run: FlowContext, asked: Agreeing) -> Consensus:
    """Put it to a vote, which ends as soon as nobody's answer can change it any more."""
    voters = [{"agent": agent, "name": name} for name, agent in asked.members.items()]
    needed, count = asked.required_votes, len(voters)
    rule: Any = "plurality"  # more than one option may have so many: most votes win
    if needed == count:
        rule = "unanimous"
    elif 2 * needed > count:
        rule = {"kind": "supermajority", "threshold": str(Fraction(needed, count))}
    about: dict[str, Any] = {"choices": asked.choices, "rule": rule, "quorum": needed}
    limits: dict[str, Any] = {"key": "consensus", "timeout_s": asked.timeout_s}
    try:
        decision = await run.vote(voters, asked.input, **about, **limits)
    except NoDecisionError as error:
        if (told := error.details.get("decision")) is None:
            raise
        decision = Decision.model_validate(told)
    return _consensus(decision, asked)


def _consensus(decision: Decision, asked: Agreeing) -> Consensus:
    option = decision.option
    if option is None and decision.tally:
        option = max(decision.tally, key=lambda one: decision.tally[one])
    votes = decision.tally.get(option or "", 0)
    alone = decision.option is not None or 2 * asked.required_votes > len(asked.members)
    return Consensus(
        reached=votes >= asked.required_votes and alone,
        option=option,
        required_votes=asked.required_votes,
        votes=decision.tally,
        members=len(asked.members),
        decision=decision,
    )


async def _worked(run: FlowContext, asked: Working) -> WorkDone:
    desk, by = Dealing(asked), dict[int, str]()
    found, asks = dict[int, _Answer](), dict[asyncio.Task[_Answer], int]()
    news, at = asyncio.create_task(_news(run)), -1
    while True:
        for unit, name in desk.begin():
            by[unit] = name
            about = (desk.members[name], asked.input[unit], f"unit-{unit}", asked.timeout_s)
            asks[asyncio.create_task(_answered(run, *about))] = unit
        if not asks and not desk.left:
            break
        await asyncio.wait({*asks, news}, return_when=asyncio.FIRST_COMPLETED)
        for task in [one for one in asks if one.done()]:
            unit = asks.pop(task)
            found[unit] = task.result()
            desk.end(by[unit])
        if news.done():
            told = news.result()
            if told.at > at:  # else it was overtaken on its way
                at = told.at
                desk.know(told.members)
            news = asyncio.create_task(_news(run))
    return _done(asked, found, by)


async def _news(run: FlowContext) -> SwarmNews:
    """The members now, by the next signal that says so."""
    while True:
        with suppress(InvalidPayloadError):  # whoever may signal may say anything
            return news_of(await run.signal(NEWS))


def _done(asked: Working, found: Mapping[int, _Answer], by: Mapping[int, str]) -> WorkDone:
    units = range(len(asked.input))
    failures = {unit: why for unit in units if (why := found[unit][1]) is not None}
    return WorkDone(
        count=len(units),
        succeeded=len(units) - len(failures),
        failed=len(failures),
        results=tuple(found[unit][0] for unit in units),
        by=tuple(by[unit] for unit in units),
        failures=failures,
    )
