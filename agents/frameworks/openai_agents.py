"""Agents of OpenAI's Agents SDK as agents of ours."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from agents.base import Answer, StepContext, Turn
from agents.frameworks.answers import value_of
from agents.frameworks.backend import LibraryBackend
from agents.frameworks.openai_agents_items import history_of, turns_of
from agents.frameworks.openai_agents_run import CHANGED, Durable, Prices, StepProvider
from agents.frameworks.openai_agents_sdk import SDK
from agents.models.config import Price
from agents.plan import Expand
from agents.schema import ballot_schema
from agents.tools import approvals
from agents.tools.calls import ToolCall, identity_of
from agents.values import text_of
from celery_agents.contracts.schema import as_object
from celery_agents.errors import ConfigurationError


class OpenAIAgentsBackend(LibraryBackend):
    """An agent of the SDK as an agent of ours.

    Args:
        agent: the object.
        path: where it stands, for errors.
        price: of its models, where nobody knows it.
        max_turns: requests of it to its model, and of those that it hands over to; None: the SDK's.

    Raises:
        ConfigurationError: it is none, or cannot be durable.
    """

    def __init__(
        self, agent: Any, path: str, *, price: Price | None = None, max_turns: int | None = None
    ) -> None:
        super().__init__(path)
        if not isinstance(agent, SDK.Agent):
            raise ConfigurationError(f"{path} is no Agent of OpenAI's Agents SDK.")
        self._agent = agent
        self._prices = Prices(price)
        self._durable = Durable(self._prices).agent(agent)
        provider = StepProvider(SDK.MultiProvider(), self._prices)
        self._about: dict[str, Any] = {"run_config": SDK.RunConfig(model_provider=provider)}
        if max_turns is not None:
            self._about["max_turns"] = max_turns

    async def aclose(self) -> None:
        """Close what its models hold."""
        await self._about["run_config"].model_provider.aclose()

    async def _answered(self, turn: Turn, step: StepContext) -> Answer | Expand:
        form = _form(turn)
        agent = self._durable if form is None else Durable(self._prices, form).agent(self._agent)
        asked: Any = _input(turn)
        times = Counter[str]()  # of wishes that are alike
        changed: dict[str, str] = {}
        CHANGED.set(changed)
        while True:
            result = await SDK.Runner.run(agent, asked, **self._about)
            if not result.interruptions:
                said = (i for i in result.new_items if not isinstance(i, SDK.ToolApprovalItem))
                turns = turns_of(item.to_input_item() for item in said)
                value = value_of(result.final_output, turn)
                return Answer(value=value, usage=step.spent, turns=turns)
            asked = result.to_state()
            wishes = await _approved(asked, result.interruptions, step, times, changed)
            if wishes is not None:
                return wishes


async def _approved(
    state: Any, wanted: list[Any], step: StepContext, times: Counter[str], changed: dict[str, str]
) -> Expand | None:
    """Tell a run what people have said about its tools; give the wishes that wait for them.

    The state is not kept: each attempt comes to it again, by the calls that the journal has.
    """
    ended, wishes = await step.answered(), []
    for item in wanted:
        call_id, arguments = str(item.call_id), _arguments(item.arguments)
        asked = ToolCall(id=call_id, name=item.qualified_name, arguments=arguments)
        key = approvals.key_of(identity_of(asked, times[identity := identity_of(asked, 0)]))
        times[identity] += 1
        if (verdict := approvals.verdict(ended, key)) is None:
            wishes.append(approvals.wish(asked, key, ""))
        elif verdict.approved:
            if verdict.arguments is not None:
                changed[call_id] = json.dumps(verdict.arguments)
            state.approve(item)
        else:
            why = verdict.reason or "A person has refused it."
            state.reject(item, rejection_message=why)
    return Expand(members=tuple(wishes)) if wishes else None


def _arguments(text: str | None) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _input(turn: Turn) -> str | list[Any]:
    history: list[Any] = history_of(turn.messages)
    if turn.instructions:
        history.insert(0, {"role": "system", "content": turn.instructions})
    if turn.input is None and history:
        return history
    return [*history, {"role": "user", "content": text_of(turn.input)}]


def _form(turn: Turn) -> Any:
    """The form that the turn wants; None: the agent's own."""
    if turn.choices is not None:
        return _Form("ballot", ballot_schema(turn.choices))
    if turn.answer_schema is not None:
        return _Form("answer", as_object(turn.answer_schema))
    return None


class _Form(SDK.AgentOutputSchemaBase):
    """An answer of a JSON schema."""

    def __init__(self, name: str, schema: Any) -> None:
        self._name = name
        self._schema = schema

    def is_plain_text(self) -> bool:
        """False: it is JSON."""
        return False

    def name(self) -> str:
        """The name of the form."""
        return self._name

    def json_schema(self) -> Any:
        """The schema."""
        return self._schema

    def is_strict_json_schema(self) -> bool:
        """False: the schema may be more than strict ones can be."""
        return False

    def validate_json(self, json_str: str) -> Any:
        """The value; the service looks at it by the schema."""
        try:
            return json.loads(json_str)
        except ValueError as error:
            raise SDK.ModelBehaviorError(f"It answered no JSON: {error}") from None
