"""Signals of a flow that the client of its task may be asked for.

[mcp.flows.refund.signals.approve]
message = "May it be paid back?"
value = { type = "boolean" }
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from celery_agents.contracts.base import Contract, JsonValue


class SignalValue(Contract):
    """The schema of a signal's value; forms of the protocol have no others."""

    model_config = ConfigDict(extra="allow")

    type: Literal["string", "number", "integer", "boolean"] = "string"


class OfferedSignal(Contract):
    """A signal that a person gives by a form."""

    message: Annotated[str, Field(max_length=4_000)] = ""
    value: SignalValue = SignalValue()

    def form(self, name: str) -> dict[str, JsonValue]:
        """The request that asks for it."""
        schema: dict[str, JsonValue] = {
            "type": "object",
            "properties": {"value": self.value.model_dump(mode="json", exclude_none=True)},
            "required": ["value"],
        }
        message = self.message or f"The flow waits for {name}."
        about: dict[str, JsonValue] = {"mode": "form", "message": message}
        about["requestedSchema"] = schema
        return {"method": "elicitation/create", "params": about}
