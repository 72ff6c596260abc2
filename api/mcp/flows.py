"""Flows as tools: ``[mcp.flows.NAME]`` of the configuration.

[mcp.flows.refund]
flow = "refund"
description = "Pays an order back, once somebody has agreed."
input = { type = "object", properties = { order = { type = "string" } }, required = ["order"] }
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from agents.catalog.loading import read_tables
from agents.schema import problem
from api.mcp.waits.offered import OfferedSignal
from celery_agents.contracts.base import Contract, JsonValue, Name, Version, mistakes
from celery_agents.errors import ConfigurationError, InvalidPayloadError

_ANY: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"description": "What the flow is to do."}},
    "required": ["input"],
    "additionalProperties": False,
}


class OfferedFlow(Contract):
    """A flow that is called as a tool; without ``input``, a schema, with one argument ``input``."""

    flow: Name
    description: str = ""
    version: Version | None = None
    input: dict[str, JsonValue] = Field(default_factory=dict)
    #: Signals that the client of its task is asked for, while the flow waits for one.
    signals: dict[Name, OfferedSignal] = Field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """The schema of its arguments."""
        return {**self.input, "type": "object"} if self.input else _ANY

    def body(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The run that a call with these arguments asks for.

        Raises:
            InvalidPayloadError: the arguments are not those of its schema.
        """
        wrong = problem(arguments, self.parameters, what="the arguments", of="The flow")
        if wrong is not None:
            raise InvalidPayloadError(wrong)
        told = arguments if self.input else arguments["input"]
        about = {} if self.version is None else {"version": self.version}
        return {"task": "start", "flow": self.flow, "input": told, **about}


def read_flows(config: Path | None) -> dict[str, OfferedFlow]:
    """The flows of a file that are tools; of no file, none.

    Raises:
        ConfigurationError: the file cannot be read, or one is not right; it names the field.
    """
    if config is None:
        return {}
    table = read_tables(config).get("mcp", {})
    told = table.get("flows", {}) if isinstance(table, dict) else {}
    if not isinstance(told, dict):
        raise ConfigurationError(f"{config}: flows are tables like [mcp.flows.name].")
    made = {}
    for name, about in told.items():
        try:
            made[name] = OfferedFlow.model_validate({"flow": name, **about})
        except (ValidationError, TypeError) as error:
            why = mistakes(error)[0] if isinstance(error, ValidationError) else ("", str(error))
            raise ConfigurationError(f"{config}: [mcp.flows.{name}] {': '.join(why)}") from None
    return made
