"""Guards: what is looked for in the texts round an agent, and what becomes of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from celery_agents.contracts.base import Contract, Name

#: What is done about a finding: nothing, an event, another text in its place, or an end.
Action = Literal["off", "flag", "mask", "block"]
#: Data of persons.
PersonalKind = Literal["email", "card", "iban", "ssn", "phone", "ip"]
#: A word or a phrase; with a ``*`` at its end, its beginning.
Word = Annotated[str, Field(min_length=2, max_length=60, pattern=r"^[^*]*\w[^*]*\*?$")]


class GuardPolicy(Contract):
    """A guard of agents.toml: ``[guards.NAME]``, with one thing that it does.

    It stands round the agents that it ``covers``: ``agent:gpt``, ``provider:openai``,
    ``kind:http``.
    """

    covers: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    #: Data of persons to look for.
    pii: tuple[PersonalKind, ...] = ()
    #: Where phones are that are written without a country's code: "DE", "US".
    regions: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...], Field(max_length=40)
    ] = ()
    #: Words to look for, however they are written.
    words: Annotated[tuple[Word, ...], Field(max_length=2_000)] = ()
    #: A function, as ``module:function``, of a text: it gives (start, end, kind) of what it finds.
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    #: The agent that says whether a text is allowed.
    judge: Name | None = None
    #: Others wrote the input: models are told so. Or the fields of it that they wrote.
    untrusted: bool | Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = False
    #: What is done about what goes in, and about what comes out.
    input: Action = "off"
    output: Action = "off"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        does = (self.pii, self.words, self.function, self.judge, self.untrusted)
        if sum(map(bool, does)) != 1:
            raise ValueError("give one of pii, words, function, judge, untrusted")
        if self.untrusted:
            if {self.input, self.output} != {"off"}:
                raise ValueError("untrusted marks the input: leave input and output out")
        elif self.input == self.output == "off":
            raise ValueError("it does nothing: give input or output")
        if self.judge and "mask" in {self.input, self.output}:
            raise ValueError("a judge finds no places in a text: take flag or block")
        if self.regions and "phone" not in self.pii:
            raise ValueError("regions are of phones: pii has none")
        for cover in self.covers:
            if cover.partition(":")[0] not in {"provider", "agent", "kind"}:
                raise ValueError(f"covers: {cover!r} is none of provider:…, agent:…, kind:…")
        return self
