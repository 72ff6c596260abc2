"""Events of a run: what it tells while it works, and how it ended."""

from __future__ import annotations

from typing import Any, Generic, Literal

from pydantic import Field
from typing_extensions import TypeVar

from celery_agents.contracts.base import Contract, TrustedJson
from celery_agents.contracts.outcome import Outcome

#: The id of the last event: whoever goes on after it is told the end again, and no more.
END = "end"
EventType = Literal[
    "text", "tool", "tool_result", "progress", "state", "restart", "snapshot", "end"
]


#: Of the value at the end.
T = TypeVar("T", default=Any)


class RunEvent(Contract, Generic[T]):
    """One event of a run that was asked for with ``stream=True``.

    ``text`` is a piece of an answer. ``tool`` and ``tool_result`` are a call's begin and end,
    ``progress`` what an agent tells of itself, ``state`` a step's new state. With ``restart`` a
    step begins again: what it said before is void. With ``snapshot`` events may have been lost, and
    the steps are told as the journal has them. ``end`` has the outcome, and is always the last.
    """

    #: From here ``run.events(after=id)`` goes on.
    id: str
    type: EventType
    #: The step that tells it, and its agent; the run's id for what is told of the whole run.
    step_id: str
    agent: str | None = None
    text: str = ""
    #: Of a text of an answer that has a type: the answer so far, as JSON. It is not checked, and
    #: may lack anything.
    partial: TrustedJson = None
    data: dict[str, TrustedJson] = Field(default_factory=dict)
    outcome: Outcome | None = None
    #: At the end of a run that succeeded: what its ``get`` gives.
    value: T | None = Field(default=None, exclude=True)

    def compact(self) -> dict[str, Any]:
        """As of all contracts, with the outcome's own short form."""
        told = super().compact()
        return told if self.outcome is None else told | {"outcome": self.outcome.compact()}
