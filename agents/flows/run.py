"""The ``run`` that a flow's code has: what it may ask for."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, NoReturn

from agents.flows.instance import Instance, Read
from agents.flows.wants import BeginAnew, Emit
from agents.plain import plain_json
from agents.plan import Member
from celery_agents import names
from celery_agents.contracts.approval import FlowQuestion, PersonAnswer
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.base import JsonValue, name_of
from celery_agents.contracts.flows.entries import StreamEvent, stream_of
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.flows.task import CeleryTask, queue_of
from celery_agents.contracts.gather import Aggregate, Gather
from celery_agents.contracts.mapping import Map, MapResult, put_to
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.verbs import REQUESTS
from celery_agents.contracts.vote import Decision
from celery_agents.errors import InvalidPayloadError


class FlowContext:
    """The questions of a flow. All that it asks for begins at once; ``await`` waits for its end.

    ``key`` names a command; without one it has a number. Options are those of the client's verbs.
    An agent or a pattern that fails raises its own error.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    @property
    def id(self) -> str:
        """The id of the flow's run; of a flow that another one started, of its step."""
        return self._instance.run_id

    def ask(
        self,
        agent: str,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        *,
        key: str | None = None,
        **options: Any,
    ) -> Awaitable[Any]:
        """Ask an agent; its turn is a step of its own, with its retries."""
        given = {"agent": agent, **options}
        return self._step((names.ASK, Ask), agent, (input, given), key)

    def fallback(
        self,
        candidates: Sequence[Any],
        input: JsonValue,  # noqa: A002 - as callers write it
        *,
        key: str | None = None,
        **options: Any,
    ) -> Awaitable[Any]:
        """Ask candidates until one answers."""
        given = {"candidates": candidates, **options}
        return self._step((names.FALLBACK, Fallback), "", (input, given), key)

    def vote(
        self, voters: Sequence[Any], question: JsonValue, *, key: str | None = None, **options: Any
    ) -> Awaitable[Decision]:
        """Put a question to a vote."""
        given = {"voters": voters, **options}
        return self._step((names.VOTE, Vote), "", (question, given), key, Decision.model_validate)

    def gather(
        self,
        agents: Sequence[Any],
        input: JsonValue,  # noqa: A002 - as callers write it
        *,
        key: str | None = None,
        **options: Any,
    ) -> Awaitable[Aggregate]:
        """Ask agents, and make one value of their answers."""
        given = {"agents": agents, **options}
        return self._step((names.GATHER, Gather), "", (input, given), key, Aggregate.model_validate)

    def map(
        self, agent: Any, inputs: Sequence[JsonValue], *, key: str | None = None, **options: Any
    ) -> Awaitable[MapResult]:
        """Ask an agent, several, or a panel, about each of many inputs."""
        given = {**put_to(agent), **options}
        named = agent if isinstance(agent, str) else ""
        return self._step(
            (names.MAP, Map), named, ([*inputs], given), key, MapResult.model_validate
        )

    def start(
        self,
        flow: str,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        *,
        key: str | None = None,
        **options: Any,
    ) -> Awaitable[Any]:
        """Run another flow, as a member of this one."""
        given = {"flow": flow, **options}
        return self._step((names.FLOW, Flow), flow, (input, given), key)

    def task(
        self, signature: Mapping[str, Any], *, key: str | None = None, **options: Any
    ) -> Awaitable[Any]:
        """Run a Celery task of any app, ``add.s(1, 2)``; its result is the answer.

        Its signature names its queue, ``add.s(1, 2).set(queue="shop")``, where that is not the one
        of an agent of the kind ``celery``. A signature of an agent, ``agents.ask.s(…)``, asks it.
        """
        name, args = signature["task"], [*(signature.get("args") or ())]
        kwargs = dict(signature.get("kwargs") or {})
        if (ours := REQUESTS.get(name)) is not None:
            if len(args) > 1:
                raise InvalidPayloadError(f"{name}: it takes one argument; got {len(args)}.")
            input_ = args[0] if args else kwargs.pop("input", None)
            named = kwargs.get("agent") or kwargs.get("flow") or ""
            return self._step((name, ours), named, (input_, kwargs | options), key)
        if signature.get("subtask_type") is not None or name.startswith(("agents.", "celery.")):
            raise InvalidPayloadError(f"{name}: it is no task of another app; see `run.start`.")
        given = {"task": name, "queue": queue_of(signature), **options}
        told = {"args": args, "kwargs": kwargs}
        return self._step((names.TASK, CeleryTask), name, (told, given), key)

    def approval(
        self,
        question: JsonValue,
        *,
        choices: Sequence[str] | None = None,
        by: Sequence[str] = (),
        key: str | None = None,
    ) -> Awaitable[PersonAnswer]:
        """Ask a person, ``if await run.approval("Refund it?"):``, or for one of the choices.

        It is listed by ``waiting()``, and answered by ``approve(run, True, key=…)``. ``by``:
        patterns of those who may answer, as an audit names them (``jwt:*@shop.example``).
        """
        told = FlowQuestion.of(_plain(question), choices, by).compact()

        def make(known: str) -> Member:
            return Member(key=known, task=names.APPROVAL, input=told, options={}, waits=True)

        read = PersonAnswer.model_validate
        return self._instance.ask("approval", "", told, make, key=key, read=read)

    def signal(self, name: str) -> Awaitable[Any]:
        """Wait for a signal of that name, ``agents.start(…).signal(name, value)``; give its value.

        The first that nobody took yet, or the next that comes.
        """
        return self._instance.signal(name_of(name, "signal"))

    def emit(
        self, stream: str, kind: str, data: Mapping[str, JsonValue], *, key: str | None = None
    ) -> None:
        """Add an entry to a stream, in the transaction that lets the flow wait, or ends it.

        ``key`` is the entry's: of one kind and key the stream has one.
        """

        def make(_: str) -> Emit:
            told = StreamEvent.read({"kind": kind, "data": plain_json(data), "key": key})
            return Emit(stream_of(stream), told.kind, told.data, told.key)

        self._instance.command("emit", stream, [kind, data, key], make)

    def again(self, state: JsonValue) -> NoReturn:
        """End here and begin anew, with ``state`` as the input and nothing of the history.

        The run goes on under its id, with the newest version of the flow. Signals that nobody took
        move along; whom nobody awaits is let go of.

        Raises:
            InvalidPayloadError: the state has no JSON form.
        """
        try:
            plain = plain_json(state)
        except ValueError as error:
            raise InvalidPayloadError(f"state: {error}") from None
        raise BeginAnew(plain)

    def patched(self, name: str) -> bool:
        """Return whether this run takes the new way of a change of that name.

        False in a run that came past this place before the change was there; True in each other
        one. Where all of those have ended, the call and the old way are taken out.
        """
        return self._instance.patched(name_of(name, "name"))

    def now(self) -> datetime:
        """The flow's time: when what it was told last had happened; the same in each replay."""
        return datetime.fromtimestamp(self._instance.loop.now, UTC)

    @property
    def random(self) -> Random:
        """Random numbers that are the same in each replay."""
        return self._instance.random

    def uuid4(self) -> uuid.UUID:
        """A random UUID that is the same in each replay."""
        return uuid.UUID(int=self._instance.ids.getrandbits(128), version=4)

    def _step(
        self,
        kind: tuple[str, type[StepOptions]],
        name: str,
        told: tuple[Any, dict[str, Any]],
        key: str | None,
        read: Read | None = None,
    ) -> Awaitable[Any]:
        def make(known: str) -> Member:
            return _member(known, *kind, *told)

        named = kind[0].rpartition(".")[2]
        return self._instance.ask(named, name, told, make, key=key, read=read)


def _member(
    key: str, task: str, request: type[StepOptions], told: Any, options: dict[str, Any]
) -> Member:
    """The member that a command asks for.

    Raises:
        InvalidPayloadError: an option is wrong, or the input has no JSON form.
    """
    plain = _plain(told)
    given = {name: value for name, value in options.items() if value is not None}
    asked = request.from_message([plain], given)
    return Member(
        key=key,
        task=task,
        agent=getattr(asked, "agent", None),
        input=asked.input,
        options=asked.message_options(),
        max_attempts=asked.retry.max_attempts,
        deadline_s=asked.whole_s,
    )


def _plain(told: Any) -> Any:
    try:
        return plain_json(told)
    except ValueError as error:
        raise InvalidPayloadError(f"input: {error}") from None
