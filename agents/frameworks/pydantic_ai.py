"""Agents of pydantic-ai: their requests, tools and discoveries are journaled calls of the step."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Any

from pydantic_ai import (
    Agent,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    StructuredDict,
    ToolApproved,
    ToolDenied,
)
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationId,
    EventStreamHandlerId,
    JournalCallableOperationBackend,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    ToolsetValidateToolArgumentsId,
)
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

from agents.base import Answer, StepContext, Turn, Usage
from agents.current import CURRENT
from agents.frameworks.answers import value_of
from agents.frameworks.backend import LibraryBackend
from agents.frameworks.pydantic_ai_messages import history_of, told
from agents.frameworks.requests import PricedModel, priced_model
from agents.models.config import Price
from agents.models.provider import ModelRequest, Tokens
from agents.models.reading.shapes import count, mapping
from agents.plan import Expand
from agents.schema import ballot_schema
from agents.tools import approvals
from agents.tools.calls import ToolCall, identity_of
from agents.values import digest, text_of
from celery_agents.contracts.schema import as_object
from celery_agents.errors import AgentFailedError, ConfigurationError

_NAME_MAX = 200
#: Where the price of a model is said.
_PRICED_BY = "StepDurability(price={})"


class StepDurability(BaseDurabilityCapability[Any]):
    """Makes an agent of pydantic-ai durable wherever it runs within a step.

    ``Agent(…, name="support", capabilities=[StepDurability()])``. Agents that it asks in its tools
    want one, too. Outside of steps it changes nothing.

    Args:
        price: as an agent's in agents.toml, for models whose price nobody knows.
        options: of pydantic-ai's capabilities of this form: ``models``, ``event_stream_handler``.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="celery-agents",
        durable_unit_noun="call",
        durable_container_noun="step",
        codec=JSON_CODEC,
        serialization_failure=lambda error: AgentFailedError(f"It has no JSON form: {error}"),
        toolset_lifecycles={
            "function": "enter-always",
            "mcp": "enter-in-durable-unit",
            "dynamic": "enter-never",
        },
    )

    def __init__(self, *, price: Mapping[str, float] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._price = None if price is None else Price.model_validate(price)
        self._priced: dict[tuple[str, str], PricedModel] = {}

    @property
    def in_durable_context(self) -> bool:
        """True in the code of a step, within calls of it as well: so are an agent's agents."""
        return CURRENT.get() is not None

    def get_durable_operation_backend(self) -> _Calls:
        """The maker of calls of this agent's operations."""
        return _Calls(self)

    def _effective_event_stream_handler(self) -> Any:
        own = super()._effective_event_stream_handler()
        within = CURRENT.get()
        return _say if own is None and within is not None and within.step.streamed else own

    def priced(self, model: Any) -> PricedModel:
        """The prices of a model."""
        system, name = str(model.system), str(model.model_name)
        if (found := self._priced.get((system, name))) is None:
            found = priced_model(system, name, self._price, _PRICED_BY)
            self._priced[system, name] = found
        return found


class _Calls(JournalCallableOperationBackend[None]):
    """Makes each operation a call of the step: known by its name and what it is about."""

    def __init__(self, durability: StepDurability) -> None:
        nothing: Any = dict.fromkeys(("model", "event", "capability", "tool"))
        super().__init__(
            agent_name=durability.name,
            default_model_id=durability.default_model_id,
            config=RoleBasedOperationConfig(**nothing),
        )
        self._durability = durability

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: None,  # noqa: ARG002 - the protocol's
    ) -> object:
        """Make the call, unless it is known."""
        within = CURRENT.get()
        if within is None or isinstance(
            operation_id, EventStreamHandlerId | ToolsetValidateToolArgumentsId
        ):  # a row for each event would be one for each token
            return await body()
        about = told(cache_key)
        fingerprint, made, step = digest([repr(operation_id), about]), False, within.step
        model, request = None, ModelRequest(model="", system=None, user="")
        if isinstance(operation_id, ModelRequestId):
            _, messages, settings, parameters, context = cache_key
            model = self._durability.priced(context.model)  # type: ignore[attr-defined]
            most = count(mapping(settings).get("max_tokens"))
            asked = text_of(told((messages, parameters)))
            request = request.model_copy(update={"user": asked, "max_output_tokens": most or None})

        async def perform(_: str) -> Answer:
            nonlocal made
            made = True
            payload: Any = await body()
            usage = Usage() if model is None else await model.usage(request, _tokens(payload))
            return Answer(value=payload, usage=usage)

        # What a person has approved is an effect: it is not done again where nobody knows.
        once = isinstance(operation_id, ToolsetCallToolId) and _approved_call(cache_key)
        expect = None if model is None else model.expect(request)
        answer = await step.call(
            name[:_NAME_MAX], perform, fingerprint=fingerprint, once=once, expect=expect
        )
        if not made and model is not None and step.streamed:
            step.say(_text(answer.value))  # an earlier attempt's, which watchers dropped
        return answer.value


def _approved_call(cache_key: tuple[object, ...]) -> bool:
    return any(isinstance(one, RunContext) and one.tool_call_approved for one in cache_key)


def _response(payload: Any) -> dict[str, Any]:
    """The answer of a model in what an operation gave: itself, or what stands around it."""
    whole = mapping(payload)
    return next((p for p in (whole, *map(mapping, whole.values())) if "parts" in p), {})


def _tokens(payload: Any) -> Tokens | None:
    usage = mapping(_response(payload).get("usage"))
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    counts = [count(usage.get(name)) or 0 for name in names]
    return Tokens(*counts) if any(counts) else None


def _text(payload: Any) -> str:
    parts = [mapping(part) for part in _response(payload).get("parts", ())]
    return "".join(str(p.get("content") or "") for p in parts if p.get("part_kind") == "text")


async def _say(_: RunContext[Any], events: AsyncIterable[Any]) -> None:
    """Tell watchers of the run the text as it comes."""
    within = CURRENT.get()
    async for event in events:
        text = ""
        if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
            text = event.part.content
        elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
            text = event.delta.content_delta
        if text and within is not None:
            within.step.say(text)


class PydanticAIBackend(LibraryBackend):
    """An agent of pydantic-ai as an agent of ours.

    Args:
        agent: the object.
        path: where it stands, for errors.

    Raises:
        ConfigurationError: it is none, or is not durable.
    """

    def __init__(self, agent: Any, path: str) -> None:
        super().__init__(path)
        if not isinstance(agent, Agent):
            raise ConfigurationError(f"{path} is no Agent of pydantic-ai.")
        if StepDurability.from_agent(agent) is None:
            raise ConfigurationError(
                f"{path} is not durable: give it a name, and capabilities=[StepDurability()]."
            )
        self._agent = agent

    async def _answered(self, turn: Turn, step: StepContext) -> Answer | Expand:
        prompt = None if turn.messages and turn.input is None else text_of(turn.input)
        about: dict[str, Any] = {"message_history": history_of(turn.messages) or None}
        if turn.instructions:
            about["instructions"] = turn.instructions
        about["output_type"] = [_form(self._agent, turn), DeferredToolRequests]
        times = Counter[str]()  # of wishes that are alike
        while True:
            result = await self._agent.run(prompt, **about)
            if not isinstance(result.output, DeferredToolRequests):
                return Answer(value=value_of(result.output, turn), usage=step.spent)
            results = await _approved(result.output, step, times)
            if isinstance(results, Expand):
                return results
            prompt, about["message_history"] = None, result.all_messages()
            about["deferred_tool_results"] = results


async def _approved(
    wanted: DeferredToolRequests, step: StepContext, times: Counter[str]
) -> DeferredToolResults | Expand:
    """The answers about tools that people are to approve, or the wishes that wait for them."""
    if wanted.calls:
        names = ", ".join(call.tool_name for call in wanted.calls)
        raise AgentFailedError(f"Nobody answers its external tools: {names}.")
    ended, wishes, results = await step.answered(), [], DeferredToolResults()
    for call in wanted.approvals:
        asked = ToolCall(id=call.tool_call_id, name=call.tool_name, arguments=call.args_as_dict())
        key = approvals.key_of(identity_of(asked, times[identity := identity_of(asked, 0)]))
        times[identity] += 1
        if (verdict := approvals.verdict(ended, key)) is None:
            wishes.append(approvals.wish(asked, key, ""))
        elif verdict.approved:
            approved = ToolApproved(override_args=verdict.arguments)
            results.approvals[call.tool_call_id] = approved
        else:
            why = verdict.reason or "A person has refused it."
            results.approvals[call.tool_call_id] = ToolDenied(why)
    return Expand(members=tuple(wishes)) if wishes else results


def _form(agent: Agent[Any, Any], turn: Turn) -> Any:
    """The form of the answer: what the turn asks for, else what the agent gives."""
    if turn.choices is not None:
        return StructuredDict(ballot_schema(turn.choices), name="ballot")
    if turn.answer_schema is not None:
        return StructuredDict(as_object(turn.answer_schema), name="answer")
    return agent.output_type
