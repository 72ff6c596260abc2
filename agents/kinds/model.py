"""An agent that is a language model: one loop for all providers.

The conversation goes in, a reply comes out; tools that the reply calls are run and their results
go in with the next request, until a reply calls none. Every model request and every tool call is
a journaled call of the step, so a step that is tried again goes on after its last finished one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

from agents import personality
from agents.asking import asked, error_of
from agents.base import Answer, StepContext, Turn
from agents.caching.cacheable import Cacheable, Caching, Meaning, said_of
from agents.conversing import uniform
from agents.governance.estimate import expected
from agents.governance.lessons import Lessons, Own
from agents.models.caching import PromptCache
from agents.models.config import ModelConfig
from agents.models.prices import usage_of
from agents.models.provider import (
    Completion,
    Exchange,
    ModelRequest,
    Provider,
    Reply,
)
from agents.models.said import conversation_of, newest, said
from agents.models.sizing import Sizing
from agents.needs import Needs, Quote, Weight
from agents.patterns.vote.options import match
from agents.plan import Expand
from agents.schema import answer_of, ballot_schema
from agents.tools.base import Tool
from agents.tools.calls import ToolSpec
from agents.tools.colleagues import Colleagues, OtherAgents
from agents.tools.delegating import Handoff
from agents.tools.loading import load_tools
from agents.tools.offered import Offered
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset, Toolset
from agents.values import digest, parse_json, sendable, shown, text_of
from celery_agents.agent import Effects
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.governance import Estimate
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.schema import as_object
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.contracts.vote import Normalisation
from celery_agents.errors import (
    AgentFailedError,
    BadAnswerError,
    ProviderUnavailableError,
    redact,
)

#: How options are compared where nobody says otherwise.
_LOOSELY = Normalisation()
#: Seconds between two progress reports of a streamed answer.
PROGRESS_EVERY_S = 1.0
#: Characters of the answer's end that a progress report shows.
PROGRESS_TEXT = 200


class ModelBackend:
    """A configured language model with its tools.

    Args:
        config: the agent's entry.
        provider: its provider's API.
        tools: beside those that the entry names.
        toolsets: those of the configuration, which the entry may name.
        executor: where tools that are sync functions run; the loop's default when not given.
        known: tells of other agents, once all are there.
        lessons: what its requests teach of their sizes.
        caching: how its answers are kept.

    Raises:
        ConfigurationError: a tool cannot be loaded, or two have one name.
    """

    def __init__(
        self,
        config: ModelConfig,
        provider: Provider,
        *,
        tools: Iterable[Tool | Toolset] = (),
        toolsets: Mapping[str, Toolset] | None = None,
        executor: Executor | None = None,
        known: OtherAgents | None = None,
        lessons: Lessons | None = None,
        caching: Caching | None = None,
    ) -> None:
        self.config = config
        self._caching = caching
        self._provider = provider
        self._who = f"{config.provider}/{config.model}"
        self.lessons = lessons or Own()
        self._sizing = Sizing(config, self.lessons)
        self._cache = PromptCache(config, self.lessons)
        found = load_tools([*config.tools, *tools], who=self._who, named=toolsets)
        self.asks = tuple(dict.fromkeys((*found.agents, *found.spawns)))
        self._tools = Toolbox(
            FunctionToolset(f"functions of {self._who}", *found.tools, executor=executor),
            found.toolsets,
            Colleagues(found.agents, config.handoffs, known, spawn=found.spawns),
            list_timeout_s=config.request_timeout_s,
            approve=config.approve,
        )
        #: Names of its tools; None: some have to be listed.
        self.tool_names = self._tools.tool_names

    @property
    def effects(self) -> Effects:
        """The worst effects of its own tools, since it may call any of them."""
        return self._tools.effects

    async def answer(self, turn: Turn, step: StepContext) -> Answer | Outcome | Expand:
        """Answer one turn with a ballot, a JSON value or text, as the turn asks.

        Where its model wants to call tools that a person has to approve, or to ask other agents,
        the step waits for that. Where it hands the conversation over, the other's end is its own.

        Raises:
            InvalidPayloadError: the input cannot be sent.
            BadAnswerError: the reply could not be read as that.
            AgentFailedError: the model still called tools in its last allowed request, or made
                the same call over and over.
        """
        offered = self._tools.narrowed(await self._tools.offered(step), turn.tools, turn.team)
        running = Running(offered, step, most=self.config.max_tool_calls)
        request = self._request(turn, offered, streamed=step.streamed)
        usage, left = Usage(), self.config.answer_retries
        for turns_left in reversed(range(self.config.max_turns)):
            answered = await self._ask(request, turn, step, again=left > 0 and turns_left > 0)
            usage += answered.usage
            reply = Reply.model_validate(answered.value)
            try:
                value = self._value(reply, turn)
            except MalformedAnswerError as error:
                left -= 1
                exchange = Exchange(reply=reply, complaint=_complaint(error))
                step.tell("restart", attempt=step.attempt)  # what it said is no answer
            else:
                if not reply.tool_calls:
                    if reply.stop == "length":
                        await step.progress(truncated=True)
                    return Answer(value=value, usage=usage, turns=newest(said(request.exchanges)))
                results = await running.answer(reply.tool_calls, why=reply.text)
                if isinstance(results, Expand):
                    return results
                exchange = Exchange(reply=reply, results=results)
            told = {"exchanges": (*request.exchanges, exchange), "tools": running.specs}
            request = request.model_copy(update=told)
            if running.handoff is not None:
                return _handed_over(running.handoff, request, turn, usage)
        raise AgentFailedError(
            f"{self._who} did not finish within max_turns={self.config.max_turns} requests."
        )

    async def estimate(self, agent: str, turn: Turn) -> Estimate:
        """Estimate the first request of a turn; tools that have to be listed are left out."""
        return await self._sizing.estimate(agent, self._first(turn))

    async def weigh(self, turn: Turn, *, priced: bool) -> Weight:
        """Weigh the first request of a turn, for a router; as estimates do."""
        return await self._sizing.weigh(self._first(turn), priced=priced)

    async def aclose(self) -> None:
        """Close its tools and the provider's client."""
        await self._tools.aclose()
        await self._provider.aclose()

    def refusal(self, spec: AgentSpec) -> str | None:
        """Return why it cannot be narrowed like that: it has no such tool."""
        return self._tools.refusal(spec.tools or ())

    def _first(self, turn: Turn) -> ModelRequest:
        """Return the first request of a turn, without the tools that have to be listed."""
        unlisted = self._tools.unlisted
        named = None if turn.tools is None else [n for n in turn.tools if n in unlisted.tools]
        offered = self._tools.narrowed(unlisted, named, turn.team)
        return self._request(turn, offered, streamed=False)

    def _request(self, turn: Turn, offered: Offered, *, streamed: bool) -> ModelRequest:
        return _request_of(turn, offered.specs, self.config, self._provider, streamed=streamed)

    async def _ask(
        self, request: ModelRequest, turn: Turn, step: StepContext, *, again: bool
    ) -> Answer:
        """One journaled model request; the answer's value is the Reply as JSON.

        ``again``: a malformed answer is kept as a turn of the conversation, which goes on.
        """
        watcher = _Watcher(step)
        if (cache_key := self._cache.key(request)) is not None:
            request = request.model_copy(update={"cache_key": cache_key})

        async def perform(idempotency_key: str) -> Answer:
            rates = await self._sizing.admitted(request)
            about: Any = {"idempotency_key": idempotency_key, "on_text": watcher.on_text}
            work = self._provider.complete(request, **about)
            reply, tokens = await _in_time(work, self.config.request_timeout_s, self._who)
            usage = usage_of(rates, tokens)
            self._sizing.learn(request, tokens)
            # Read here already: a bad answer must not be journaled as finished, or each
            # further attempt would get the same one. What it cost goes with the error.
            try:
                self._value(reply, turn)
                watcher.whole = reply.stop == "end"
            except BadAnswerError as error:
                if not (again and isinstance(error, MalformedAnswerError)):
                    details = {"usage": usage.model_dump(mode="json")}
                    raise BadAnswerError(error.message, details) from None
            return Answer(value=reply.model_dump(mode="json"), usage=usage)

        # How the answer is sent changes nothing of what is asked.
        asked = request.model_copy(update={"stream": self.config.stream})
        about = [self.config.provider, self.config.base_url, asked]
        answer = await step.call(
            f"model:{self._who}",
            perform,
            fingerprint=digest(about),
            expect=_Expected(self._sizing, asked, watcher),
            cache=_cacheable((self._caching, self.config, self._value), request, turn, watcher),
        )
        if not watcher.heard and step.streamed:  # an earlier attempt's, which watchers dropped
            step.say(Reply.model_validate(answer.value).text)
        return answer

    def _value(self, reply: Reply, turn: Turn) -> JsonValue:
        """Read a reply in the form that the turn asks for; None while it calls tools."""
        cut = " (cut at the limit of output tokens)" if reply.stop == "length" else ""
        if reply.tool_calls and cut:
            # Of the last call a part is missing, though what is there may be JSON; and nobody
            # knows which calls should have followed.
            raise BadAnswerError(
                f"{self._who} was cut at the limit of output tokens while it called tools; none "
                "was run. Raise max_output_tokens."
            )
        if reply.tool_calls:
            return None
        schema = _schema(self.config, turn)
        if not reply.text.strip():
            raise BadAnswerError(f"{self._who} gave an empty answer{cut}.")
        if schema is None:
            return reply.text
        value = _parsed(reply, who=f"{self._who}{cut}")
        if turn.choices and isinstance(value, dict):
            option = value.get("option")
            value = {**value, "option": match(option, turn.choices, _LOOSELY) or option}
        value, wrong = answer_of(value, schema)
        if wrong is not None:
            told = f"{self._who} gave a malformed answer, {wrong}: {shown(value)}"
            raise MalformedAnswerError(told)
        if _reviews(self.config, turn) and isinstance(value, dict):
            return personality.report(value, self.config.criteria)
        return value


def _request_of(
    turn: Turn,
    tools: tuple[ToolSpec, ...],
    config: ModelConfig,
    provider: Provider,
    *,
    streamed: bool,
) -> ModelRequest:
    asked = _schema(config, turn)
    schema = None if asked is None else as_object(asked)
    in_words = _in_words(config, provider, schema, tools=bool(tools))
    sendable(text_of([schema, *(message.compact() for message in turn.messages)]))
    system = _instructions(config, turn, schema if in_words else None)
    return ModelRequest(
        model=config.model,
        system=sendable(system) or None,
        history=tuple(uniform(turn.messages)),
        user=None if turn.messages and turn.input is None else sendable(text_of(turn.input)),
        tools=tools,
        answer_schema=None if in_words else schema,
        temperature=config.temperature,
        max_output_tokens=config.max_output_tokens,
        stream=config.stream or streamed,
    )


def _parsed(reply: Reply, *, who: str) -> JsonValue:
    try:
        return parse_json(reply.text, who=who)
    except BadAnswerError as error:
        if reply.stop == "length":  # its end is missing: it would be again
            raise
        raise MalformedAnswerError(error.message) from None


async def _in_time(work: Coroutine[Any, Any, Completion], limit_s: float, who: str) -> Completion:
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        message = f"{who} did not answer within {limit_s:g} s."
        raise ProviderUnavailableError(message) from None


class WithKey(ModelBackend):
    """A model with another key: all but its provider's client is the model's."""

    def __init__(self, model: ModelBackend, provider: Provider) -> None:
        self.__dict__ = {**model.__dict__, "_provider": provider}

    async def aclose(self) -> None:
        """Close the provider's client; the tools are closed with the model."""
        await self._provider.aclose()


def _in_words(
    config: ModelConfig, provider: Provider, schema: dict[str, JsonValue] | None, *, tools: bool
) -> bool:
    """Return whether the form of the answer is asked for in words."""
    return config.structured == "prompt" or not (
        (provider.schema_with_tools or not tools) and (schema is None or provider.takes(schema))
    )


def _reviews(config: ModelConfig, turn: Turn) -> bool:
    """Return whether the answer is a review; whoever asks for a form of their own gets that."""
    return bool(config.criteria) and turn.choices is None and turn.answer_schema is None


def _schema(config: ModelConfig, turn: Turn) -> dict[str, JsonValue] | None:
    if turn.choices is not None:
        return ballot_schema(turn.choices)
    if _reviews(config, turn):
        return personality.review_schema(config.criteria)
    return turn.answer_schema


def _instructions(config: ModelConfig, turn: Turn, schema: dict[str, JsonValue] | None) -> str:
    """The instructions of an entry and of a turn, with the form where it is told in words."""
    manner = personality.instructions(config.traits, config.style)
    parts = [config.instructions, manner, turn.instructions]
    if schema is not None:
        form = json.dumps(schema, ensure_ascii=False)
        parts.append(f"Answer with nothing but JSON that has this JSON Schema:\n{form}")
    return "\n\n".join(part for part in parts if part)


def _cacheable(
    how: tuple[Caching | None, ModelConfig, Callable[[Reply, Turn], JsonValue]],
    request: ModelRequest,
    turn: Turn,
    watcher: _Watcher,
) -> Cacheable | None:
    """The call of a request, of which whole answers in the form that is asked for are kept."""
    caching, config, read = how
    if caching is None:
        return None
    whole = request.model_copy(update={"stream": False})
    meaning = None
    if request.user is not None and not request.exchanges:

        def said(answer: Answer) -> JsonValue:
            """Its value; tools that are called for one question are none for another."""
            value = read(Reply.model_validate(answer.value), turn)
            return None if value is None else said_of(turn)(Answer(value=value))

        rest = [config.provider, config.base_url, whole.model_copy(update={"user": None})]
        meaning = Meaning(request.user, rest, said)
    about = [config.provider, config.base_url, whole]
    return caching.of(about, lambda _: watcher.whole, meaning)


def _handed_over(
    handoff: Handoff, request: ModelRequest, turn: Turn, usage: Usage
) -> Outcome | Expand:
    """Return how the other agent's turn ended; before that, the turn, with all that was said."""
    if (ended := handoff.outcome) is None:
        ask = Ask(
            agent=handoff.agent,
            messages=conversation_of(request),
            instructions=turn.instructions,
            choices=turn.choices,
            answer_schema=turn.answer_schema,
        )
        return Expand(members=(asked(handoff.key, ask),))
    agent = ended.agent or handoff.agent
    if ended.ok:
        active = ended.active or handoff.agent
        turns = newest(tuple(uniform((*said(request.exchanges), *ended.turns))))
        done: Any = {"state": State.SUCCEEDED, "agent": agent, "active": active, "turns": turns}
        return Outcome(usage=usage, value=ended.value, **done)
    return Outcome(state=State.FAILED, agent=agent, usage=usage, error=error_of(ended))


class MalformedAnswerError(BadAnswerError):
    """An answer that has not the form that was asked for; its model may be told so."""


class _Expected:
    """Says what one request will take and cost; it is asked only where somebody counts."""

    def __init__(self, sizing: Sizing, request: ModelRequest, watcher: _Watcher) -> None:
        self._sizing = sizing
        self._request = request
        self._watcher = watcher

    def __call__(self) -> Needs:
        return self._sizing.needs(self._request)

    async def quote(self, *, worst: bool) -> Quote:
        return await self._sizing.quote(self._request, self._watcher.arrived, worst=worst)


def _complaint(error: MalformedAnswerError) -> str:
    return f"That is not an answer of the form that was asked for: {error.message} Answer again."


class _Watcher:
    """Watches a request: tells watchers of its step now and then how a streamed answer grows."""

    def __init__(self, step: StepContext) -> None:
        self._step = step
        self._text = ""
        self.heard = False
        self.whole = False  # not cut, and as it was asked for
        self._next_at = 0.0

    def arrived(self) -> int:
        """Tokens of the answer that have come, by their number as it is usual."""
        return expected([self._text]).input_tokens

    async def on_text(self, text: str) -> None:
        self.heard = True
        self._text += text
        self._step.say(text)
        now = asyncio.get_running_loop().time()
        if text and now >= self._next_at:
            self._next_at = now + PROGRESS_EVERY_S
            # What a cut may leave of a secret is not known as one: it is made from a longer end.
            shown = redact(self._text[-4 * PROGRESS_TEXT :])[-PROGRESS_TEXT:]
            await self._step.progress(text=shown, characters=len(self._text))
