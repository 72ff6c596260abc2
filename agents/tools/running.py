"""The tool calls of one answer, made as the effects of each allow, and their results as told."""

from __future__ import annotations

from collections.abc import Sequence

from agents.base import StepContext
from agents.plan import Expand
from agents.tools.alone import made_alone
from agents.tools.calls import ToolCall, ToolResult, ToolSpec
from agents.tools.code.programs import ProgramResult, Programs
from agents.tools.delegating import Delegating, Handoff
from agents.tools.making import Maker
from agents.tools.offered import Offered, OfferedTool
from agents.tools.own import OwnTools
from agents.tools.screened import Sight
from agents.tools.waiting import WaitsError, until
from celery_agents.errors import AgentFailedError

#: The same call again: from here on it is answered without being made, and ends the answer.
SAME_ANSWERED, SAME_ENDS = 3, 5
#: Calls of one reply that are made, unless an agent's entry says otherwise.
MOST_CALLS = 100


class Running:
    """Makes the calls of one answer, of each reply ``most`` at the most."""

    def __init__(self, offered: Offered, step: StepContext, *, most: int = MOST_CALLS) -> None:
        self._most = most
        self._step = step
        self._offered = offered
        self._sight = Sight(step)
        self._own = OwnTools(offered)
        self._delegating = Delegating(offered, step)
        self._programs = Programs(offered, step, self._sight, self._delegating)
        self._maker = Maker(offered, step, self._delegating, programs=self._programs)
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
        on (``handoff``) once all are answered. A program that needs what is not there yet has the
        step wait, too. ``why`` is what the model said beside its calls.

        Raises:
            RetryableError: a tool raised it; the step is to be tried again.
            AgentFailedError: the model makes the same call over and over.
            UncertainCallError: nobody knows whether an effect happened, and its tool fails then.
        """
        self._sight.spoken()
        if len(original) == 1 and (tool := self._plain(original[0])) is not None:
            return await self._alone(tool, original[0])
        meant = [self._meant(call) for call in original[: self._most]]
        asked = [self._maker.asked(call) for call in meant]
        told = [
            _repeated(call, one.times) or self._maker.problem(call)
            for call, one in zip(meant, asked, strict=True)
        ]
        try:
            batch = await self._maker.settle(meant, asked, told, why=why)
        except WaitsError as waiting:
            return until(waiting.members, waiting.timeout_s)
        if batch.waits:
            return until(batch.waits, batch.timeout_s)
        about = (batch.calls, batch.identities, batch.told, batch.found)
        self.handoff = await self._delegating.hand_over(*about)
        made = [
            # In their order, not as they came: the numbers of long ones are the same each time.
            await self._sight.told(
                batch.told[n] or await self._told(call, batch.found.get(n)),
                original[n],
                meant[n],
                call,
            )
            for n, call in enumerate(batch.calls)
        ]
        return (*made, *(_beyond(call, self._most) for call in original[self._most :]))

    def _plain(self, call: ToolCall) -> OfferedTool | None:
        """Return the tool of a call that needs nothing around it."""
        tool = self._offered.tools.get(call.name)
        if tool is None or not tool.is_plain or self._sight.screens or self._programs.takes(call):
            return None
        return tool

    async def _alone(self, tool: OfferedTool, call: ToolCall) -> tuple[ToolResult] | Expand:
        """Make the only call of a reply."""
        self.handoff = None
        asked = self._maker.asked(call)
        if (told := _repeated(call, asked.times)) is not None:
            return (told,)
        try:
            made = await made_alone(self._step, tool, call, asked)
        except WaitsError as waiting:
            return until(waiting.members, waiting.timeout_s)
        if isinstance(made, Expand):
            return made
        self._step.did(call.name)
        value = self._own.long.told(call.name, made.value, tool.policy)
        return (made if value is made.value else made.model_copy(update={"value": value}),)

    def _meant(self, call: ToolCall) -> ToolCall:
        """Return a call with what marks stand for; a program keeps them, its own calls do not."""
        return call if self._programs.takes(call) else self._sight.meant(call)

    async def _told(self, call: ToolCall, result: ToolResult | None) -> ToolResult:
        """Tell the model of a call; without a result, it is of none of the tools here."""
        if result is None:
            return await self._own.answer(call)
        self._step.did(call.name)
        policy = self._offered.tools[call.name].policy
        if isinstance(result, ProgramResult) and result.untrusted:
            policy = policy.model_copy(update={"untrusted": True})
        # A program has been told marks of this turn; those of its calls' results are ours already.
        seen = await self._sight.seen(result.value, but_own=self._programs.takes(result.call))
        value = self._own.long.told(call.name, seen, policy)
        if value is result.value:
            return result
        return ToolResult(call=result.call, value=value, failed=result.failed)


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
