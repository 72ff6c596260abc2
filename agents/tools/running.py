"""The tool calls of one answer, made as the effects of each allow, and their results as told."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from agents.base import Answer, StepContext
from agents.caching.cacheable import Cacheable, Caching
from agents.guarding.untrusted import marked
from agents.invoke import invoke
from agents.plan import Expand, Member
from agents.timing import in_time
from agents.tools.approvals import key_of, verdict, wish
from agents.tools.calls import (
    ToolCall,
    ToolError,
    ToolFailedError,
    ToolResult,
    ToolSpec,
    heard,
    identity_of,
    too_late,
    wrong_arguments,
)
from agents.tools.delegating import Delegating, Handoff
from agents.tools.offered import Offered, OfferedTool
from agents.tools.own import OwnTools
from agents.tools.screened import Sight
from agents.values import digest
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.caching import CachePolicy
from celery_agents.errors import (
    AgentFailedError,
    AnswerTooLargeError,
    RetryableError,
    UncertainCallError,
)

#: The same call again: from here on it is answered without being made, and ends the answer.
SAME_ANSWERED, SAME_ENDS = 3, 5
#: Calls of one reply that are made, unless an agent's entry says otherwise.
MOST_CALLS = 100
#: Seconds before the second try of a call, doubled before each further one.
_PAUSE_S = 0.1


@runtime_checkable
class _Stopping(Protocol):
    """A step that can be asked to stop."""

    @property
    def asked_to_stop(self) -> bool:
        """True when nobody waits for it."""
        ...


class Running:
    """Makes the calls of one answer, of each reply ``most`` at the most."""

    def __init__(self, offered: Offered, step: StepContext, *, most: int = MOST_CALLS) -> None:
        self._most = most
        self._offered = offered
        self._step = step
        self._sight = Sight(step)
        self._same: Counter[str] = Counter()
        self._own = OwnTools(offered)
        self._delegating = Delegating(offered, step)
        #: Who goes on in its model's place, since the last answer.
        self.handoff: Handoff | None = None

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools that the model is offered next."""
        return (*self._offered.specs, *self._own.specs)

    async def answer(
        self, original: Sequence[ToolCall], *, why: str = ""
    ) -> tuple[ToolResult, ...] | Expand:
        """Make the calls of one reply; what came of them, in their order.

        Those without effects are made side by side, those with effects one after the other. When
        one ends the attempt, the others come to their end first, so that they are journaled. Where
        some need a person's approval that is not there yet, none is made: the step is to wait for
        all of them. Agents are asked side by side once all others are made, and one of them goes
        on (``handoff``) once all are answered. ``why`` is what the model said beside its calls.

        Raises:
            RetryableError: a tool raised it; the step is to be tried again.
            AgentFailedError: the model makes the same call over and over.
            UncertainCallError: nobody knows whether an effect happened, and its tool fails then.
        """
        self._sight.spoken()
        meant = [self._sight.meant(call) for call in original[: self._most]]
        times = [self._times(call) for call in meant]
        told = [_repeated(c, n) or self._problem(c) for c, n in zip(meant, times, strict=True)]
        calls, wishes = await self._decided(meant, times, told, why)
        if wishes:
            return Expand(members=tuple(wishes))
        found = await self._made(calls, told)
        await _read(self._step, self._offered, found.values())
        identities = [identity_of(call, n) for call, n in zip(meant, times, strict=True)]
        if asks := await self._delegating.ask(calls, identities, told, found):
            return Expand(members=tuple(asks))
        self.handoff = await self._delegating.hand_over(calls, identities, told, found)
        made = [
            # In their order, not as they came: the numbers of long ones are the same each time.
            await self._sight.told(
                told[n] or await self._told(call, found.get(n)), original[n], meant[n], call
            )
            for n, call in enumerate(calls)
        ]
        return (*made, *(_beyond(call, self._most) for call in original[self._most :]))

    async def _made(
        self, calls: Sequence[ToolCall], told: Sequence[ToolResult | None]
    ) -> dict[int, ToolResult]:
        """Make those calls of which nothing is told yet, but by other agents."""
        found: dict[int, ToolResult] = {}

        async def make(place: int) -> None:
            call = calls[place]
            tool = self._offered.tools.get(call.name)
            if not (told[place] or tool is None or self._delegating.takes(call)):
                self._step.tell("tool", call_id=call.id, name=call.name, arguments=call.arguments)
                made = found[place] = await self._result(tool, call)
                self._step.tell("tool_result", call_id=call.id, name=call.name, failed=made.failed)

        async def in_order(places: Sequence[int]) -> None:
            for place in places:
                await make(place)

        lone = [n for n, call in enumerate(calls) if self._effects(call) != "effect"]
        rest = [n for n in range(len(calls)) if n not in lone]
        if len(calls) == 1:  # nothing to run beside it
            await make(0)
        else:
            acts = [*(make(n) for n in lone), in_order(rest)]
            for error in await asyncio.gather(*acts, return_exceptions=True):
                if error is not None:
                    raise error
        return found

    def _problem(self, call: ToolCall) -> ToolResult | None:
        """Answer a call whose wrong arguments no person is to see."""
        tool = self._offered.tools.get(call.name)
        if tool is None or tool.policy.approve == "never":
            return None
        wrong = wrong_arguments(call, tool.spec)
        wrong = wrong or tool.home.problem(call.name, call.arguments)
        if wrong is None:
            return None
        return ToolResult(call=call, value=f"Wrong arguments: {wrong}", failed=True)

    async def _decided(
        self,
        calls: Sequence[ToolCall],
        times: Sequence[int],
        told: list[ToolResult | None],
        why: str,
    ) -> tuple[list[ToolCall], list[Member]]:
        """Return the calls as people want them made, and the wishes that nobody has answered.

        Of a call that was refused, or cannot be made as a person wants it, ``told`` has the answer.
        """
        made, wishes = [*calls], []
        for place, call in enumerate(calls):
            tool = self._offered.tools.get(call.name)
            key = key_of(call, times[place])
            if told[place] is not None or tool is None or not await _asks(self._step, tool, key):
                continue
            said = verdict(await self._step.answered(), key)
            if said is None:
                if not await _made_before(self._step, tool, [*made[:place], call], told):
                    wishes.append(wish(call, key, why))
            elif not said.approved:
                reason = f": {said.reason}" if said.reason else "."
                text = f"This call was not approved{reason}"
                told[place] = ToolResult(call=call, value=text, failed=True)
            elif said.arguments is not None:
                made[place] = call.model_copy(update={"arguments": said.arguments})
                # OtherAgents before it is begun: one with effects might be told as uncertain.
                told[place] = self._problem(made[place])
        return made, wishes

    def _effects(self, call: ToolCall) -> str:
        tool = self._offered.tools.get(call.name)
        return "pure" if tool is None else tool.policy.effects

    def _times(self, call: ToolCall) -> int:
        """The how-manieth call of its tool with its arguments it is, in this answer."""
        asked = _asked(call)
        self._same[asked] += 1
        return self._same[asked]

    async def _told(self, call: ToolCall, result: ToolResult | None) -> ToolResult:
        """Tell the model of a call; without a result, it is of none of the tools here."""
        if result is None:
            return self._own.answer(call)
        policy = self._offered.tools[call.name].policy
        seen = await self._sight.seen(result.value)
        value = self._own.long.told(call.name, seen, policy)
        return result.model_copy(update={"value": value})

    async def _result(self, tool: OfferedTool, call: ToolCall) -> ToolResult:
        """Make a call, journaled unless it is pure. The model is told of most errors."""
        asked = _asked(call)
        if tool.policy.effects == "pure" and tool.policy.cache_s is None:
            return await self._tried(tool, call, _key(self._step.step_id, asked))

        async def perform(key: str) -> Answer:
            return Answer(value=(await self._tried(tool, call, key)).model_dump(mode="json"))

        once = tool.policy.effects == "effect"
        try:
            answer = await self._step.call(
                f"tool:{call.name}",
                perform,
                fingerprint=asked,
                once=once,
                cache=_cacheable(tool, call),
            )
        except AnswerTooLargeError as error:
            return ToolResult(call=call, value=error.message, failed=True)
        except UncertainCallError as error:
            if tool.policy.on_uncertain == "fail":
                raise
            return ToolResult(call=call, value=error.message, failed=True)
        # A journaled result belongs to this call too, whatever id its call had.
        return ToolResult.model_validate(answer.value).model_copy(update={"call": call})

    async def _tried(self, tool: OfferedTool, call: ToolCall, key: str) -> ToolResult:
        """Try a call as often as its policy says; the model hears of the last failure."""
        tries = tool.policy.tries_max
        for left in reversed(range(tries)):
            try:
                return ToolResult(call=call, value=await self._value(tool, call, key))
            except (ToolFailedError, RetryableError) as error:
                if not left:
                    if isinstance(error, RetryableError):
                        raise
                    return ToolResult(call=call, value=str(error), failed=True)
                await asyncio.sleep(_PAUSE_S * 2 ** (tries - 1 - left))
            except ToolError as error:  # trying again would change nothing
                return ToolResult(call=call, value=str(error), failed=True)
        raise AssertionError("a policy has at least one try")

    async def _value(self, tool: OfferedTool, call: ToolCall, key: str) -> JsonValue:
        act = invoke(tool.home.call, call.name, call.arguments, key=key, step=self._step)
        limit_s = tool.policy.timeout_s
        late = lambda: ToolFailedError(too_late(call.name, limit_s))  # noqa: E731
        try:
            return await in_time(limit_s, heard(act), late)
        except asyncio.CancelledError:
            if _stops(self._step):
                raise
            raise ToolFailedError(f"{call.name} cancelled itself.") from None


def _stops(step: StepContext) -> bool:
    """Return whether a cancellation is the step's, and not of a tool's own making."""
    task = asyncio.current_task()
    cancelled = task is not None and task.cancelling() > 0
    return cancelled or (isinstance(step, _Stopping) and step.asked_to_stop)


def _repeated(call: ToolCall, times: int) -> ToolResult | None:
    """Answer a call that was made before, with the same arguments, once too often."""
    if times >= SAME_ENDS:
        raise AgentFailedError(f"It called {call.name} {times} times with the same arguments.")
    if times < SAME_ANSWERED:
        return None
    text = f"As before: {call.name} was called with these arguments already. Go on otherwise."
    return ToolResult(call=call, value=text, failed=True)


def _beyond(call: ToolCall, most: int) -> ToolResult:
    """Answer a call of a reply that has too many."""
    text = f"Not called: of one reply {most} calls are made. Call it in another one."
    return ToolResult(call=call, value=text, failed=True)


async def _read(step: StepContext, offered: Offered, found: Iterable[ToolResult]) -> None:
    """Take note of results that others may have written."""
    for result in found:
        policy = offered.tools[result.call.name].policy
        if policy.untrusted and (not policy.tells_trust or marked(result.value)):
            await step.distrust()


async def _asks(step: StepContext, tool: OfferedTool, key: str) -> bool:
    """Return whether a person is asked before a call."""
    approve = tool.policy.approve
    return approve == "ask" or (approve == "untrusted" and await step.untrusted(key))


async def _made_before(
    step: StepContext,
    tool: OfferedTool,
    calls: Sequence[ToolCall],
    told: Sequence[ToolResult | None],
) -> bool:
    """Return whether the last call was made before anybody wanted a person to be asked.

    Nobody can refuse it then, and its model is told what came of it.
    """
    if (effects := tool.policy.effects) == "pure" or step.tries == 1:
        return False
    *others, asked = map(_asked, calls)
    after = sum(o == asked and result is None for o, result in zip(others, told, strict=False))
    return await step.made(
        f"tool:{tool.spec.name}", fingerprint=asked, once=effects == "effect", after=after
    )


def _asked(call: ToolCall) -> str:
    return digest([call.name, call.arguments])


def _cacheable(tool: OfferedTool, call: ToolCall) -> Cacheable | None:
    """The call of a pure tool whose results are kept: the same for all who have this tool."""
    if tool.policy.cache_s is None:
        return None
    caching = Caching(f"tool:{call.name}", CachePolicy(ttl_s=tool.policy.cache_s))
    about = ["tool", tool.home.name, tool.spec, call.arguments]
    return caching.of(about, good=lambda told: not ToolResult.model_validate(told.value).failed)


def _key(step_id: str, asked: str) -> str:
    """A key for a call that is not journaled, the same each time."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{step_id}/{asked}"))
