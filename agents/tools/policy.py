"""The way in which the calls of a tool are made: its effects decide, and some bounds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from celery_agents.agent import Effects
from celery_agents.contracts.base import Contract, Seconds

#: Whether a person is asked before a call: never, each time, or once the run has read what others
#: wrote.
Approve = Literal["never", "ask", "untrusted"]

#: Tries of a call that may be made again, within one attempt at its step.
_TRIES = 2


class ToolPolicy(Contract):
    """How the calls of a tool are made.

    | effects | journaled | those of one reply | after a crash in flight | tries |
    |---|---|---|---|---|
    | ``pure`` | no | side by side | made again | 1 |
    | ``idempotent`` | yes | side by side | made again, with the same key | 2 |
    | ``effect`` | yes | one by one, in the model's order | not made again | 1 |
    """

    effects: Effects = "effect"
    #: Seconds of one try; None: what is left of the step's.
    timeout_s: Seconds | None = None
    #: Seconds for which a pure tool's result is served to calls with the same arguments, of all
    #: runs of a tenant; None: it is called each time.
    cache_s: Seconds | None = None
    #: Tries of a call that failed; None: as the table says. An effect has one.
    tries: Annotated[int, Field(ge=1, le=10)] | None = None
    #: Bytes of a result that the model is told at once; it may ask for the rest.
    max_result_bytes: Annotated[int, Field(ge=200)] = 16_384
    #: Whether its results may hold what others wrote: the model is told that they are data.
    untrusted: bool = False
    #: Whether they mark by themselves what of them others wrote, as memories do; else all of it
    #: counts as theirs.
    tells_trust: bool = False
    #: Whether a person is asked before a call.
    approve: Approve = "never"
    #: Where nobody knows whether an effect happened: the model is told, or the step fails.
    on_uncertain: Literal["tell", "fail"] = "tell"

    @model_validator(mode="after")
    def _effects_happen_once(self) -> Self:
        if self.effects == "effect" and self.tries not in {None, 1}:
            raise ValueError("a tool with effects has one try: nobody knows what a failed one did")
        return self

    @model_validator(mode="after")
    def _is_cacheable(self) -> Self:
        if self.cache_s is not None and self.effects != "pure":
            raise ValueError('cache_s is of pure tools: say effects="pure"')
        return self

    @property
    def tries_max(self) -> int:
        """Tries of a call within one attempt at its step."""
        return self.tries or (_TRIES if self.effects == "idempotent" else 1)
