"""Programs of one answer: each call that one makes is a call of its step, as a plain one is.

A program is known by its text and by the how-manieth of that text it is, and each of its calls by
the program too. It is not journaled while it runs but run again from its start, by an attempt that
finds it without an end: its finished calls are read, so that it comes to where it was. Once it has
ended, its result is a call of the step as well, and no later attempt runs it: it might go another
way, as where a pure tool answers otherwise by then, and make effects that its model is not told of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agents.asking import is_handoff
from agents.base import Answer, StepContext
from agents.plain import plain_json
from agents.tools.calls import ToolCall, ToolError, ToolResult, WholeJson, brief
from agents.tools.code.sandbox import CallAnswer, CodeBounds, ProgramCall
from agents.tools.code.toolset import VALUE_MAX, CodeToolset, told
from agents.tools.delegating import Delegating
from agents.tools.making import Maker, by_others
from agents.tools.offered import Offered
from agents.tools.screened import Sight
from agents.tools.waiting import WaitsError
from agents.values import digest, shown, text_of, within
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AnswerTooLargeError

#: How much longer than the first one another attempt may compute: on a busier machine a program
#: must not end before it has come to where it was.
_PATIENCE = 4
#: Size of the arguments of calls that wait at once: they are looked at on the worker's loop.
ARGUMENTS_MAX = 1_250_000
#: Notes that a model is told of a program's calls.
_NOTES_MAX = 20


class ProgramResult(ToolResult):
    """The result of a program."""

    #: Whether it has called tools that give what others wrote.
    untrusted: bool = False
    #: What its calls gave that a model sees marks in place of, in their order.
    masked: tuple[WholeJson, ...] = ()


class Programs:
    """Runs the programs of one answer."""

    def __init__(
        self, offered: Offered, step: StepContext, sight: Sight, delegating: Delegating
    ) -> None:
        self._offered = offered
        self._step = step
        self._sight = sight
        self._delegating = delegating

    def takes(self, call: ToolCall) -> bool:
        """Return whether a call is a program."""
        return self._home(call) is not None

    async def run(self, call: ToolCall, identity: str, why: str) -> ToolResult:
        """Run one, known by that identity.

        Raises:
            WaitsError: it needs a person's approval, another agent's answer, or a time.
            AgentsError: a call of it ended the attempt, or the step.
        """
        home = self._home(call)
        assert home is not None
        try:
            source = home.source(call.arguments)
        except ToolError as error:
            return ToolResult(call=call, value=str(error), failed=True)
        key = digest(["program", identity])
        if await self._step.made(f"tool:{call.name}", fingerprint=key):
            return await self._ended(call, key)
        functions = home.functions(self._callable())
        maker = Maker(self._offered, self._step, self._delegating, within=key)
        program = _Program(self._offered, self._sight, maker, call, why, functions)
        ended = await home.sandbox.run(
            source,
            self._bounds(home.bounds),
            seed=key,
            functions=[*functions],
            answer=program.answer,
        )
        try:
            about: Any = {"value": _bounded(told(ended, program.notes))}
        except ToolError as error:
            about = {"value": str(error), "failed": True}
        about |= {"untrusted": program.untrusted, "masked": tuple(program.masked)}
        result = ProgramResult(call=call, **about)
        return await self._ended(call, key, result)

    async def _ended(
        self, call: ToolCall, key: str, result: ProgramResult | None = None
    ) -> ToolResult:
        """Return the journaled result; until there is one it is ``result``, of this attempt."""

        async def perform(_: str) -> Answer:
            assert result is not None, "it is journaled"
            return Answer(value=brief(result))

        try:
            answer = await self._step.call(f"tool:{call.name}", perform, fingerprint=key)
        except AnswerTooLargeError as error:
            return ToolResult(call=call, value=error.message, failed=True)
        found = ProgramResult.model_validate(answer.value).model_copy(update={"call": call})
        if result is None:  # its calls, which would have told this attempt, are not read
            if found.untrusted:
                await self._step.distrust()
            for value in found.masked:  # so that the marks in its result stand for the same
                await self._sight.seen(value)
        return found

    def _callable(self) -> list[str]:
        """The tools that some program could call."""
        return [
            name
            for name, tool in self._offered.tools.items()
            if not (is_handoff(name) or isinstance(tool.home, CodeToolset))
        ]

    def _bounds(self, bounds: CodeBounds) -> CodeBounds:
        if self._step.tries == 1:
            return bounds
        return replace(bounds, timeout_s=bounds.timeout_s * _PATIENCE)

    def _home(self, call: ToolCall) -> CodeToolset | None:
        return self._offered.home(call.name, CodeToolset)


@dataclass
class _Program:
    """One program while it runs."""

    offered: Offered
    sight: Sight
    maker: Maker
    call: ToolCall
    why: str
    #: Names of tools, by those of functions.
    functions: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    untrusted: bool = False
    masked: list[JsonValue] = field(default_factory=list)
    made: int = 0

    async def answer(self, wanted: Sequence[ProgramCall]) -> Sequence[CallAnswer]:
        """Make calls of the program that wait at once."""
        if not within([(one.args, one.kwargs) for one in wanted], ARGUMENTS_MAX):
            told = f"The arguments have more than {ARGUMENTS_MAX:,} characters. Give a part of them"
            beside = ", or make fewer calls side by side" if len(wanted) > 1 else ""
            return [CallAnswer(error=f"{told}{beside}.") for _ in wanted]
        calls = [self._called(one) for one in wanted]
        said = iter(await self._answers([one for one in calls if isinstance(one, ToolCall)]))
        return [next(said) if isinstance(one, ToolCall) else one for one in calls]

    async def _answers(self, calls: Sequence[ToolCall]) -> list[CallAnswer]:
        if not calls:
            return []
        asked = [self.maker.asked(call) for call in calls]
        told = [self.maker.problem(call) for call in calls]
        batch = await self.maker.settle(calls, asked, told, why=self.why)
        if batch.waits:
            raise WaitsError(batch.waits, batch.timeout_s)
        return [
            await self._given(batch.told[n] or batch.found[n], calls[n], made)
            for n, made in enumerate(batch.calls)
        ]

    def _called(self, wanted: ProgramCall) -> ToolCall | CallAnswer:
        """Return a call as it is meant: with what marks stand for, which its program keeps."""
        name = self.functions[wanted.name]
        places = _parameters(self.offered.tools[name].spec.parameters)
        given = dict(zip(places, wanted.args, strict=False))
        if len(wanted.args) > len(places) or given.keys() & wanted.kwargs.keys():
            takes = f"{wanted.name} takes {', '.join(places) or 'no arguments'}"
            return CallAnswer(error=f"{takes}; give each once, by keyword.")
        try:
            arguments = plain_json({**given, **wanted.kwargs})
        except ValueError as error:
            return CallAnswer(error=f"The arguments of {wanted.name} are no JSON values: {error}")
        self.made += 1
        call = ToolCall(id=f"{self.call.id}/{self.made}", name=name, arguments=arguments)
        return self.sight.meant(call)

    async def _given(self, result: ToolResult, meant: ToolCall, made: ToolCall) -> CallAnswer:
        """Return a result as the model may see it: its program could tell it of any part."""
        seen = await self._seen(result.value)
        self.untrusted |= by_others(self.offered, result)
        if made.arguments != meant.arguments:
            with_these = shown(text_of(await self._seen(made.arguments)))
            self._note(f"{made.name} was called with {with_these}, by a person's decision.")
        if not result.failed:
            return CallAnswer(seen)
        told = text_of(seen)
        self._note(f"{made.name} failed: {shown(told)}")
        return CallAnswer(error=told)

    async def _seen(self, value: JsonValue) -> JsonValue:
        seen = await self.sight.seen(value)
        self.masked += [one for one in _changed(value, seen) if one not in self.masked]
        return seen

    def _note(self, text: str) -> None:
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(text)


def _parameters(schema: dict[str, JsonValue]) -> tuple[str, ...]:
    """The names of a tool's arguments, in the order of its schema."""
    properties = schema.get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def _changed(value: JsonValue, seen: JsonValue) -> list[JsonValue]:
    """The parts of a value that are seen otherwise."""
    match value, seen:
        case list(), list() if len(value) == len(seen):
            pairs = [*zip(value, seen, strict=True)]
        case dict(), dict() if len(value) == len(seen):
            pairs = [*zip(value, seen, strict=True)]
            pairs += zip(value.values(), seen.values(), strict=True)
        case _:
            return [] if value == seen else [value]
    return [part for pair in pairs for part in _changed(*pair)]


def _bounded(value: JsonValue) -> JsonValue:
    if (size := len(text_of(value).encode(errors="replace"))) > VALUE_MAX:
        raise ToolError(
            f"The program's result has {size:,} bytes, above {VALUE_MAX:,}. Its calls are not "
            "undone. Give what you need of it."
        )
    return value
