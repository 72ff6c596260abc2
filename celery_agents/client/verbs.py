"""The client's verbs: each is called to enqueue a run, and has twins.

``verb.many`` enqueues many runs, ``await verb.aio`` and ``await verb.aio_many`` do it on the
running event loop, and ``verb.s`` makes a signature for Celery's canvas.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from celery import Signature
from typing_extensions import Unpack

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.client.mapping.pages import PageCutter
from celery_agents.client.options import (
    AskOptions,
    FallbackOptions,
    GatherOptions,
    GivenAgents,
    GivenCandidates,
    GivenVoters,
    MapOptions,
    VoteOptions,
)
from celery_agents.client.run import AggregateRun, DecisionRun, MapRun, Run
from celery_agents.client.verb import Verb
from celery_agents.contracts.base import JsonValue, id_of, tenant_of
from celery_agents.contracts.mapping import put_to
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError
from celery_agents.sealing import CANVAS
from celery_agents.wire.ids import new_id
from celery_agents.wire.messages import Message

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


def _asked(value: JsonValue | EllipsisType, options: AskOptions) -> JsonValue:
    """The input; None where the conversation is all that is asked."""
    if value is not ...:
        return value
    if not options.get("messages"):
        raise InvalidPayloadError("Ask something: give an input, or messages.")
    return None


class AskVerb(Verb[Run[Any]]):
    """``agents.ask(agent, input)``: one agent's turn."""

    own = (*Verb.own, "answer")
    kept = True

    @overload
    def __call__(
        self,
        agent: str | AgentSpec,
        input: JsonValue | EllipsisType = ...,
        *,
        answer: TypeForm[T],
        **options: Unpack[AskOptions],
    ) -> Run[T]: ...
    @overload
    def __call__(
        self,
        agent: str | AgentSpec,
        input: JsonValue | EllipsisType = ...,
        **options: Unpack[AskOptions],
    ) -> Run[Any]: ...
    def __call__(
        self,
        agent: str | AgentSpec,
        input: JsonValue | EllipsisType = ...,  # noqa: A002
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> Run[Any]:
        """Ask an agent.

        Args:
            agent: its name in the workers' registry; or a spec, which narrows one.
            input: any JSON value; for a language model a text. Behind ``messages`` it may be left
                out.
            answer: a pydantic model, a union of some, or another type that pydantic reads: a
                model has to answer by its JSON Schema, and the run's value is an instance.
            options: ``messages`` (the conversation before the input), ``session`` (that of earlier
                runs, kept by the service), ``window_tokens`` (how much of it is sent),
                ``timeout_s`` (one attempt), ``deadline_s`` (all of them), ``retry`` (a
                RetryPolicy), ``instructions``, ``choices``, ``answer_schema``, ``when_open``,
                ``compensation``, ``priority`` (0 first to 9) and ``id``.

        Raises:
            InvalidPayloadError, PayloadTooLargeError, BrokerUnavailableError
        """
        given = {**options, "agent": agent, "answer": answer}
        return self._enqueue(_asked(input, options), given)

    @overload
    def many(
        self,
        agent: str | AgentSpec,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[T],
        **options: Unpack[AskOptions],
    ) -> list[Run[T]]: ...
    @overload
    def many(
        self, agent: str | AgentSpec, inputs: Iterable[JsonValue], **options: Unpack[AskOptions]
    ) -> list[Run[Any]]: ...
    def many(
        self,
        agent: str | AgentSpec,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> list[Run[Any]]:
        """Ask an agent about many inputs, in few writes to the broker."""
        given = {**options, "agent": agent, "answer": answer}
        return self._enqueue_many(inputs, given)

    @overload
    async def aio(
        self,
        agent: str | AgentSpec,
        input: JsonValue | EllipsisType = ...,
        *,
        answer: TypeForm[T],
        **options: Unpack[AskOptions],
    ) -> Run[T]: ...
    @overload
    async def aio(
        self,
        agent: str | AgentSpec,
        input: JsonValue | EllipsisType = ...,
        **options: Unpack[AskOptions],
    ) -> Run[Any]: ...
    async def aio(
        self,
        agent: str | AgentSpec,
        input: JsonValue | EllipsisType = ...,  # noqa: A002
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> Run[Any]:
        """Ask an agent, without blocking the running event loop."""
        given = {**options, "agent": agent, "answer": answer}
        return await self._enqueue_async(_asked(input, options), given)

    @overload
    async def aio_many(
        self,
        agent: str | AgentSpec,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[T],
        **options: Unpack[AskOptions],
    ) -> list[Run[T]]: ...
    @overload
    async def aio_many(
        self, agent: str | AgentSpec, inputs: Iterable[JsonValue], **options: Unpack[AskOptions]
    ) -> list[Run[Any]]: ...
    async def aio_many(
        self,
        agent: str | AgentSpec,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> list[Run[Any]]:
        """Ask an agent about many inputs, without blocking the running event loop."""
        given = {**options, "agent": agent, "answer": answer}
        return await self._enqueue_many_async(inputs, given)

    def s(
        self,
        agent: str | AgentSpec,
        *input: JsonValue,  # noqa: A002
        answer: TypeForm[Any] | None = None,
        **options: Unpack[AskOptions],
    ) -> Signature:
        """A signature; in a chain the previous result is the input, and the next one gets JSON."""
        return self._signature(input, {**options, "agent": agent, "answer": answer})


class FallbackVerb(Verb[Run[Any]]):
    """``agents.fallback(candidates, input)``: the first candidate that answers."""

    own = (*Verb.own, "answer")

    @overload
    def __call__(
        self,
        candidates: GivenCandidates,
        input: JsonValue,
        *,
        answer: TypeForm[T],
        **options: Unpack[FallbackOptions],
    ) -> Run[T]: ...
    @overload
    def __call__(
        self,
        candidates: GivenCandidates,
        input: JsonValue,
        **options: Unpack[FallbackOptions],
    ) -> Run[Any]: ...
    def __call__(
        self,
        candidates: GivenCandidates,
        input: JsonValue,  # noqa: A002
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[FallbackOptions],
    ) -> Run[Any]:
        """Ask candidates (names or Candidate) by ``strategy`` until one answers.

        ``answer`` is as of ``ask``.
        """
        given = {**options, "candidates": candidates, "answer": answer}
        return self._enqueue(input, given)

    @overload
    def many(
        self,
        candidates: GivenCandidates,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[T],
        **options: Unpack[FallbackOptions],
    ) -> list[Run[T]]: ...
    @overload
    def many(
        self,
        candidates: GivenCandidates,
        inputs: Iterable[JsonValue],
        **options: Unpack[FallbackOptions],
    ) -> list[Run[Any]]: ...
    def many(
        self,
        candidates: GivenCandidates,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[FallbackOptions],
    ) -> list[Run[Any]]:
        """One chain over each of many inputs."""
        given = {**options, "candidates": candidates, "answer": answer}
        return self._enqueue_many(inputs, given)

    @overload
    async def aio(
        self,
        candidates: GivenCandidates,
        input: JsonValue,
        *,
        answer: TypeForm[T],
        **options: Unpack[FallbackOptions],
    ) -> Run[T]: ...
    @overload
    async def aio(
        self,
        candidates: GivenCandidates,
        input: JsonValue,
        **options: Unpack[FallbackOptions],
    ) -> Run[Any]: ...
    async def aio(
        self,
        candidates: GivenCandidates,
        input: JsonValue,  # noqa: A002
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[FallbackOptions],
    ) -> Run[Any]:
        """As the call, without blocking the running event loop."""
        given = {**options, "candidates": candidates, "answer": answer}
        return await self._enqueue_async(input, given)

    @overload
    async def aio_many(
        self,
        candidates: GivenCandidates,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[T],
        **options: Unpack[FallbackOptions],
    ) -> list[Run[T]]: ...
    @overload
    async def aio_many(
        self,
        candidates: GivenCandidates,
        inputs: Iterable[JsonValue],
        **options: Unpack[FallbackOptions],
    ) -> list[Run[Any]]: ...
    async def aio_many(
        self,
        candidates: GivenCandidates,
        inputs: Iterable[JsonValue],
        *,
        answer: TypeForm[Any] | None = None,
        **options: Unpack[FallbackOptions],
    ) -> list[Run[Any]]:
        """One chain over each of many inputs, without blocking the running event loop."""
        given = {**options, "candidates": candidates, "answer": answer}
        return await self._enqueue_many_async(inputs, given)

    def s(
        self,
        candidates: GivenCandidates,
        *input: JsonValue,  # noqa: A002
        answer: TypeForm[Any] | None = None,
        **options: Unpack[FallbackOptions],
    ) -> Signature:
        """A signature; in a chain the previous result is the input, and the next one gets JSON."""
        return self._signature(input, {**options, "candidates": candidates, "answer": answer})


class VoteVerb(Verb[DecisionRun]):
    """``agents.vote(voters, question)``: many agents, one decision."""

    def __call__(
        self, voters: GivenVoters, question: JsonValue, **options: Unpack[VoteOptions]
    ) -> DecisionRun:
        """Put a question to voters (names or Voter); see VotePolicy for the options."""
        return self._enqueue(question, {**options, "voters": voters})

    def many(
        self, voters: GivenVoters, questions: Iterable[JsonValue], **options: Unpack[VoteOptions]
    ) -> list[DecisionRun]:
        """The same panel on each of many questions."""
        return self._enqueue_many(questions, {**options, "voters": voters})

    async def aio(
        self, voters: GivenVoters, question: JsonValue, **options: Unpack[VoteOptions]
    ) -> DecisionRun:
        """As the call, without blocking the running event loop."""
        return await self._enqueue_async(question, {**options, "voters": voters})

    async def aio_many(
        self, voters: GivenVoters, questions: Iterable[JsonValue], **options: Unpack[VoteOptions]
    ) -> list[DecisionRun]:
        """The same panel on each of many questions, without blocking the running event loop."""
        return await self._enqueue_many_async(questions, {**options, "voters": voters})

    def s(
        self, voters: GivenVoters, *question: JsonValue, **options: Unpack[VoteOptions]
    ) -> Signature:
        """A signature; in a chain the previous result is the question."""
        return self._signature(question, {**options, "voters": voters})


class GatherVerb(Verb[AggregateRun]):
    """``agents.gather(agents, input)``: many agents' answers made one value."""

    def __call__(
        self,
        agents: GivenVoters,
        input: JsonValue,  # noqa: A002
        **options: Unpack[GatherOptions],
    ) -> AggregateRun:
        """Ask agents (names or Voter) and aggregate their answers by ``how``; see Gather."""
        return self._enqueue(input, {**options, "agents": agents})

    async def aio(
        self,
        agents: GivenVoters,
        input: JsonValue,  # noqa: A002
        **options: Unpack[GatherOptions],
    ) -> AggregateRun:
        """As the call, without blocking the running event loop."""
        return await self._enqueue_async(input, {**options, "agents": agents})

    def s(
        self,
        agents: GivenVoters,
        *input: JsonValue,  # noqa: A002
        **options: Unpack[GatherOptions],
    ) -> Signature:
        """A signature; in a chain the previous result is the input."""
        return self._signature(input, {**options, "agents": agents})


class MapVerb(Verb[MapRun]):
    """``agents.map(agent, inputs)``: agents or a panel over many inputs, with a join."""

    #: By it inputs are sent that are too many for one message; without it they are refused.
    control: Control | None = None

    def __call__(
        self, agent: GivenAgents, inputs: Iterable[JsonValue], **options: Unpack[MapOptions]
    ) -> MapRun:
        """Ask an agent about each input, all in one run; see Map for the options.

        Several agents (a list of names) share the inputs as ``assign`` says. Each input is put to
        a panel where that stands in the agent's place: ``agents.vote.s([...], rule=...)``.
        Inputs that are too many for one message are read in pages, each of which a worker writes
        down before the next one is read; then the run begins.

        Raises:
            PayloadTooLargeError: an input is too big for one message.
            ResultTimeoutError: no worker took a page of them within a minute.
        """
        given, pages = self._begun(options, agent)
        for value in inputs:
            for page in pages.take(value):
                self._send(page, pages, given)
        for page in pages.rest():
            self._send(page, pages, given)
        return self._enqueue(*_sent(pages, given))

    def resume(
        self, run_id: str, *, agent: GivenAgents | None = None, **options: Unpack[MapOptions]
    ) -> MapRun:
        """Ask again about those inputs of a map that did not succeed; a new run has all results.

        The map has ended, and is in the journal still. ``agent`` and options that are given count
        instead of its own. What had succeeded is taken over as it is, and not paid again.
        """
        other: dict[str, Any] = {} if agent is None else self._put_to(agent)
        return self._enqueue(None, {**options, **other, "resumes": id_of(run_id)})

    async def aio(
        self,
        agent: GivenAgents,
        inputs: Iterable[JsonValue] | AsyncIterable[JsonValue],
        **options: Unpack[MapOptions],
    ) -> MapRun:
        """As the call, without blocking the running event loop; inputs may come asynchronously."""
        given, pages = self._begun(options, agent)
        async for value in _each_of(inputs):
            for page in pages.take(value):
                await asyncio.to_thread(self._send, page, pages, given)
        for page in pages.rest():
            await asyncio.to_thread(self._send, page, pages, given)
        return await self._enqueue_async(*_sent(pages, given))

    def _begun(self, options: MapOptions, agent: GivenAgents) -> tuple[dict[str, Any], PageCutter]:
        """The options of a map whose inputs are to be read, and what cuts these into pages."""
        given: dict[str, Any] = {**options, **self._put_to(agent)}
        limit = self._connection.payload_limit_bytes
        size = len(str(given)) + _SPARE_BYTES  # as far as it matters
        return given, PageCutter(max(limit - size, limit // 2))

    def _send(self, page: list[JsonValue], pages: PageCutter, options: dict[str, Any]) -> None:
        """Have a worker write a page down."""
        number = len(pages.counts) - 1
        if number == 0:
            if self.control is None:
                raise PayloadTooLargeError(f"The inputs are too many for one message. {_HINT}")
            asked = {"pages": (len(page),), "digest": pages.digest}
            [*self._messages([[None]], {**options, **asked})]  # mistakes show before any is sent
            if options.get("id") is None:
                options["id"] = new_id()
        assert self.control is not None
        told: JsonValue = {"inputs": page, "digest": pages.digest}
        about = (id_of(options["id"]), number, told, tenant_of(options.get("tenant") or ""))
        sent = self.control.ask(names.PUT_INPUTS, *about, recorded=True)
        sent.get(timeout=_PAGE_S)
        sent.forget()

    def s(
        self, agent: GivenAgents, *inputs: Iterable[JsonValue], **options: Unpack[MapOptions]
    ) -> Signature:
        """A signature; in a chain the previous result is the list of inputs."""
        return self._signature([[*given] for given in inputs], {**options, **self._put_to(agent)})

    def _put_to(self, asked: GivenAgents) -> dict[str, Any]:
        if isinstance(asked, Signature) and (seals := self._connection.seals) is not None:
            told = {"args": asked["args"], "kwargs": asked["kwargs"]}
            return put_to({"task": asked["task"], **seals.open_payload(told, CANVAS)})
        return put_to(asked)

    def _messages(
        self, inputs: Iterable[list[JsonValue]], options: dict[str, Any]
    ) -> Iterator[Message]:
        try:
            yield from super()._messages(inputs, options)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(f"{error} {_HINT}") from None


#: Seconds that a worker has to write a page down.
_PAGE_S = 60.0
#: Of a message beside inputs and options.
_SPARE_BYTES = 1_000
_HINT = (
    "All inputs of a map travel in one message here: make several maps of them, or keep big "
    "inputs elsewhere and map over their ids."
)


def _sent(pages: PageCutter, options: dict[str, Any]) -> tuple[JsonValue, dict[str, Any]]:
    """The input and the options of a map whose inputs are read."""
    if not pages.cut:
        return pages.inputs, options
    return None, {**options, "pages": tuple(pages.counts), "digest": pages.digest}


async def _each_of(
    inputs: Iterable[JsonValue] | AsyncIterable[JsonValue],
) -> AsyncIterator[JsonValue]:
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            yield value
        return
    for value in inputs:
        yield value
