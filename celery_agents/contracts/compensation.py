"""Compensation: who undoes what a step has done, when the run that it belongs to fails."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.base import Contract, Name, Seconds, TrustedJson, also
from celery_agents.contracts.policies import RetryPolicy

#: Any fixed UUID would do; ids of members are derived from another one.
_NAMESPACE = uuid.UUID("0b9d3a52-8f0e-5d0c-a7c3-5a5f3a1c9e21")
#: Undoing is what remains when all else has failed, so it is tried longer than other steps:
#: for three minutes on average.
PATIENT = RetryPolicy(max_attempts=10, base_delay_s=1.0, max_delay_s=120.0)


def compensation_id(run_id: str) -> str:
    """The id of the step that undoes a run, should it come to that."""
    return str(uuid.uuid5(_NAMESPACE, run_id))


class Compensation(Contract):
    """The agent that undoes a step, and how often it is tried. A plain string is the agent.

    ``timeout_s`` bounds one attempt. It is asked with ``{"run", "step", "agent", "input",
    "output"}`` of the step that is to be undone, and must be idempotent by ``step``.
    """

    agent: Name
    retry: RetryPolicy = PATIENT
    timeout_s: Seconds | None = None

    @model_validator(mode="before")
    @classmethod
    def _agent_alone(cls, value: Any) -> Any:
        return {"agent": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return also(core_schema, handler, Name)


def _no(value: Any) -> Any:
    if value is not False:  # 0 is equal to it
        raise ValueError("Input should be false, or an agent")
    return value


#: What a step says of its compensation: its own; none (False); or (None) that of its agent.
Compensated = Compensation | Annotated[Literal[False], BeforeValidator(_no)] | None


class Undoing(Contract):
    """One step of a failed run: who did it, who was to undo it, and how that ended."""

    step: str
    agent: str | None = None
    by: str | None = None
    error: dict[str, TrustedJson] | None = None  # kind and message; None: it was undone
    state: str | None = None  # of an uncertain step: how it ended


class CompensationReport(Contract):
    """How a run was undone, in the order in which it was done.

    ``uncertain`` steps had begun and did not succeed, so that nobody knows what they have done;
    they have a compensation, which was not asked.
    """

    run: str
    compensated: tuple[Undoing, ...] = ()
    failed: tuple[Undoing, ...] = ()
    uncertain: tuple[Undoing, ...] = ()
