"""Calls of tools, made as the effects of each allow: those of a reply, or those of a program."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.base import Answer, StepContext
from agents.caching.cacheable import Cacheable, Caching
from agents.guarding.untrusted import marked
from agents.plan import Member
from agents.tools.approvals import key_of, verdict, wish
from agents.tools.calls import (
    AskedCall,
    ToolCall,
    ToolResult,
    WaitsUntilError,
    asked_for,
    brief,
    wrong_arguments,
)
from agents.tools.delegating import Delegating
from agents.tools.offered import Offered, OfferedTool
from agents.tools.trying import tried
from agents.tools.waiting import CallTimes, WaitsError, merged
from celery_agents.contracts.caching import CachePolicy
from celery_agents.errors import AnswerTooLargeError, UncertainCallError

_OID = uuid.NAMESPACE_OID.bytes


class ProgramRunner(Protocol):
    """Runs the calls that are programs."""

    def takes(self, call: ToolCall) -> bool:
        """Return whether it is a program."""
        ...

    async def run(self, call: ToolCall, identity: str, why: str) -> ToolResult:
        """Run one, known by that identity."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls that were asked for together, as they are meant, and what became of them."""

    meant: Sequence[ToolCall]
    identities: Sequence[str]
    #: As people want them made.
    calls: list[ToolCall]
    #: What is told of those that are not made.
    told: list[ToolResult | None]
    #: What came of those that are.
    found: dict[int, ToolResult]
    #: Members that the step has to wait for first.
    waits: list[Member]
    #: How long it waits for them; None: until they have ended.
    timeout_s: float | None = None


class Maker:
    """Makes calls of one answer; ``within`` tells those of a program from all others."""

    def __init__(
        self,
        offered: Offered,
        step: StepContext,
        delegating: Delegating,
        *,
        within: str = "",
        programs: ProgramRunner | None = None,
    ) -> None:
        self._offered = offered
        self._step = step
        self._delegating = delegating
        self._within = within
        self._programs = programs
        self._same: defaultdict[str, int] = defaultdict(int)

    def asked(self, call: ToolCall) -> AskedCall:
        """Take note of a call: of what it asks for, and the how-manieth that asks for this."""
        digest = asked_for(call, self._within)
        self._same[digest] += 1
        return AskedCall(call.name, digest, self._same[digest])

    def problem(self, call: ToolCall) -> ToolResult | None:
        """Answer a call whose wrong arguments no person is to see."""
        tool = self._offered.tools.get(call.name)
        if tool is None or tool.policy.approve == "never":
            return None
        wrong = wrong_arguments(call, tool.spec)
        wrong = wrong or tool.home.problem(call.name, call.arguments)
        if wrong is None:
            return None
        return ToolResult(call=call, value=f"Wrong arguments: {wrong}", failed=True)

    async def settle(
        self,
        meant: Sequence[ToolCall],
        asked: Sequence[AskedCall],
        told: list[ToolResult | None],
        *,
        why: str,
    ) -> Batch:
        """Make those of which nothing is told yet, unless the step has to wait for some first.

        Where a person has to approve one, none is made. Agents are asked once all others are made,
        and times are waited for last.
        """
        identities = [one.identity for one in asked]
        calls, wishes = await self._decided(meant, asked, told, why)
        if wishes:
            return Batch(meant, identities, calls, told, {}, wishes)
        digests = [
            one.digest if call is wished else asked_for(call, self._within)
            for call, wished, one in zip(calls, meant, asked, strict=True)
        ]
        times = CallTimes(self._step)
        found = await self._made(calls, told, identities, digests, times=times, why=why)
        await _read(self._step, self._offered, found.values())
        asks = await self._delegating.ask(calls, identities, told, found)
        if times.members and not asks:
            about = (times.members, times.timeout_s)
            return Batch(meant, identities, calls, told, found, *about)
        return Batch(meant, identities, calls, told, found, asks)

    async def _made(
        self,
        calls: Sequence[ToolCall],
        told: Sequence[ToolResult | None],
        identities: Sequence[str],
        digests: Sequence[str],
        *,
        times: CallTimes,
        why: str,
    ) -> dict[int, ToolResult]:
        """Make those calls of which nothing is told yet, but by other agents."""
        found: dict[int, ToolResult] = {}

        async def make(place: int) -> None:
            call = calls[place]
            tool = self._offered.tools.get(call.name)
            if not (told[place] or tool is None or self._delegating.takes(call)):
                self._step.tell("tool", call_id=call.id, name=call.name, arguments=call.arguments)
                try:
                    if self._programs is not None and self._programs.takes(call):
                        made = await self._programs.run(call, identities[place], why)
                    else:
                        # The same pure calls of a reply have one key, those of a program one each.
                        about = identities[place] if self._within else digests[place]
                        made = await self._result(tool, call, digests[place], about)
                except WaitsUntilError as wait:
                    if (over := await times.over(call, identities[place], wait)) is None:
                        return
                    made = over
                found[place] = made
                self._step.tell("tool_result", call_id=call.id, name=call.name, failed=made.failed)

        async def in_order(places: Sequence[int]) -> None:
            for place in places:
                await make(place)

        if len(calls) == 1:  # nothing to run beside it
            await make(0)
        else:
            rest = [n for n, call in enumerate(calls) if self._in_order(call)]
            acts = [*(make(n) for n in range(len(calls)) if n not in rest), in_order(rest)]
            _raise_first(await asyncio.gather(*acts, return_exceptions=True))
        return found

    async def _decided(
        self,
        calls: Sequence[ToolCall],
        asks: Sequence[AskedCall],
        told: list[ToolResult | None],
        why: str,
    ) -> tuple[list[ToolCall], list[Member]]:
        """Return the calls as people want them made, and the wishes that nobody has answered.

        Of a call that was refused, or cannot be made as a person wants it, ``told`` has the answer.
        """
        made, wishes = [*calls], []
        for place, call in enumerate(calls):
            tool = self._offered.tools.get(call.name)
            if told[place] is not None or tool is None or tool.policy.approve == "never":
                continue
            key = key_of(asks[place].identity)
            if not await _asks(self._step, tool, key):
                continue
            said = verdict(await self._step.answered(), key)
            if said is None:
                asked = [asked_for(one, self._within) for one in (*made[:place], call)]
                if not await _made_before(self._step, tool, asked, told):
                    wishes.append(wish(call, key, why))
            elif not said.approved:
                reason = f": {said.reason}" if said.reason else "."
                text = f"This call was not approved{reason}"
                told[place] = ToolResult(call=call, value=text, failed=True)
            elif said.arguments is not None:
                made[place] = call.model_copy(update={"arguments": said.arguments})
                # OtherAgents before it is begun: one with effects might be told as uncertain.
                told[place] = self.problem(made[place])
        return made, wishes

    def _in_order(self, call: ToolCall) -> bool:
        """Return whether it is made once those before it are: it has effects, or may have."""
        if self._programs is not None and self._programs.takes(call):
            return True
        tool = self._offered.tools.get(call.name)
        return tool is not None and tool.policy.effects == "effect"

    async def _result(
        self, tool: OfferedTool, call: ToolCall, asked: str, about: str
    ) -> ToolResult:
        """Make a call, journaled unless it is pure. The model is told of most errors."""
        if tool.policy.effects == "pure" and tool.policy.cache_s is None:
            key = key_of_pure(self._step.step_id, about) if tool.needs_key else ""
            return await tried(self._step, tool, call, key)

        async def perform(key: str) -> Answer:
            return Answer(value=brief(await tried(self._step, tool, call, key)))

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


async def _made_before(
    step: StepContext,
    tool: OfferedTool,
    asked: Sequence[str],
    told: Sequence[ToolResult | None],
) -> bool:
    """Return whether the last call was made before anybody wanted a person to be asked.

    Nobody can refuse it then, and its model is told what came of it.
    """
    if (effects := tool.policy.effects) == "pure" or step.tries == 1:
        return False
    *others, last = asked
    after = sum(o == last and result is None for o, result in zip(others, told, strict=False))
    return await step.made(
        f"tool:{tool.spec.name}", fingerprint=last, once=effects == "effect", after=after
    )


def _raise_first(ended: Iterable[BaseException | None]) -> None:
    """Raise the first error; one that only waits comes last, and with what others wait for."""
    errors = [error for error in ended if error is not None]
    for error in errors:
        if not isinstance(error, WaitsError):
            raise error
    if waits := [error for error in errors if isinstance(error, WaitsError)]:
        raise merged(waits)


async def _read(step: StepContext, offered: Offered, found: Iterable[ToolResult]) -> None:
    """Take note of results that others may have written."""
    for result in found:
        if by_others(offered, result):
            await step.distrust()


def by_others(offered: Offered, result: ToolResult) -> bool:
    """Return whether others may have written a result."""
    policy = offered.tools[result.call.name].policy
    return policy.untrusted and (not policy.tells_trust or marked(result.value))


async def _asks(step: StepContext, tool: OfferedTool, key: str) -> bool:
    """Return whether a person is asked before a call."""
    approve = tool.policy.approve
    return approve == "ask" or (approve == "untrusted" and await step.untrusted(key))


def key_of_pure(step_id: str, asked: str) -> str:
    """The key of a call that is not journaled, the same each time.

    It is that of ``uuid5(NAMESPACE_OID, …)``, made in a quarter of its time.
    """
    digits = hashlib.sha1(_OID + f"{step_id}/{asked}".encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    parts = (digits[:8], digits[8:12], f"5{digits[13:16]}", variant + digits[17:20], digits[20:32])
    return "-".join(parts)


def _cacheable(tool: OfferedTool, call: ToolCall) -> Cacheable | None:
    """The call of a pure tool whose results are kept: the same for all who have this tool."""
    if tool.policy.cache_s is None:
        return None
    caching = Caching(f"tool:{call.name}", CachePolicy(ttl_s=tool.policy.cache_s))
    about = ["tool", tool.home.name, tool.spec, call.arguments]
    return caching.of(about, good=lambda told: not ToolResult.model_validate(told.value).failed)
