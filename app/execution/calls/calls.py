"""The calls of one attempt at a step, each known by what it is: none that finished is paid again.

A call is what it asks (its name and fingerprint), within which call it is asked (a sub-agent's
stand within that of the tool that uses it), and the how-manieth of that it is in this attempt. It
is not its number: calls that run side by side, or one that another attempt leaves out, take
nothing from each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Protocol

from pydantic import ValidationError

from agents.caching.cacheable import Cacheable
from agents.needs import Expect
from agents.performing import Perform, performed
from app.admission.budgets.charging import Charge, Purse
from app.admission.guard import Gate
from app.admission.limits.passage import Passage
from app.caching.caches import Caches, Likeness
from app.caching.shared import Sought
from app.concurrency.fibers import in_thread
from app.execution.answers import bounded, too_large
from app.execution.calls.earlier import EarlierCalls
from app.execution.calls.identity import NAME_MAX, About, CallId, check, enclosing, within
from app.execution.calls.rows import CallRows, told_of
from app.execution.calls.under_way import OpenCalls
from app.execution.runtime import Runtime
from app.execution.turns import TurnHelpers
from app.journal.schema.rows import Claimed
from app.journal.steps.calls import Before, Begun
from celery_agents.contracts.caching import CacheUse
from celery_agents.contracts.outcome import FREE, Answer, ErrorInfo, Usage
from celery_agents.errors import (
    AgentsError,
    StepCancelledError,
    UncertainCallError,
)
from celery_agents.traces import span_of_call
from celery_agents.values import KNOWN

_UNTRACED = nullcontext()


class CacheAsker(Protocol):
    """The step that makes a call whose answer may be cached."""

    def helpers(self) -> TurnHelpers:
        """Agents that are asked about similar questions."""
        ...

    async def distrust(self) -> None:
        """Take note that it has read what others wrote."""
        ...

    async def has_read(self) -> bool:
        """Return whether it, or a step of its run, has."""
        ...


class CallRecord:
    """The calls of an attempt: their identities, what they cost, those of earlier attempts."""

    def __init__(self, runtime: Runtime, claim: Claimed) -> None:
        self.spent = FREE
        self._runtime = runtime
        self._claim = claim
        self._made: list[CallId] = []
        self._passed: set[str] = set()
        self._times: dict[About, int] = {}  # how often each was asked in this attempt
        self._earlier = EarlierCalls(runtime.journal, claim)
        self._rows = CallRows(runtime.journal, claim)

    def __bool__(self) -> bool:
        """True when it made one, or read one from the journal."""
        return bool(self._made)

    async def known(self, name: str, fingerprint: str, *, once: bool, after: int) -> bool:
        """Return whether the call is over, or begun and made once at the most."""
        if self._claim.token == 1:
            return False
        about = (enclosing(self._claim.id), name, fingerprint)
        call = CallId.of(self._claim.id, 0, about, self._times.get(about, 0) + after)
        look = partial(self._runtime.journal.knows_call, begun=once)
        return await in_thread(look, self._claim.id, call.identity)

    def written(self) -> None:
        """Wait until every finished call is in the journal: another attempt would make it again.

        Raises:
            JournalUnavailableError: one was refused; it is being written anew.
        """
        self._rows.written()

    async def unused(self) -> int:
        """Count answers of earlier attempts that this one has not asked for again."""
        return len(await self._unused())

    async def pass_over(self) -> None:
        """Count, as calls of this attempt, those of earlier ones that it need not ask for again."""
        for identity in await self._unused():
            self._passed.add(identity)
            self.spent += await self._earlier.usage_of(identity)

    async def _unused(self) -> list[str]:
        return await self._earlier.unused({call.identity for call in self._made} | self._passed)

    def anew(self) -> None:
        """Begin again in this attempt, as another one would."""
        self._times.clear()

    async def answered_by(self) -> str | None:
        """Return who answered the newest one of earlier attempts, where that is written down."""
        return await self._earlier.newest_by()

    def _next(self, name: str, fingerprint: str) -> CallId:
        """The next call, numbered before anything is awaited: so its place follows the code."""
        step_id = self._claim.id
        about = (enclosing(self._claim.id), name, fingerprint)
        before = self._times.get(about, 0)
        call = CallId.of(step_id, len(self._made), about, before)
        self._times[about] = before + 1
        self._made.append(call)
        return call

    async def _known(self, call: CallId, *, anew: bool = False) -> Answer | None:
        """Return the answer of an earlier attempt; its cost counts for this one as well."""
        if (here := self._earlier.here.get(call.identity)) is not None:  # it is counted
            return here
        told = (await self._earlier.told(anew=anew)).get(call.identity)
        if told is None:
            return None
        if "kind" in told:  # it was too large to be kept
            error = ErrorInfo.model_validate(told).exception()
            self.spent += usage_of(error)
            raise error
        known = Answer.model_validate(told, context=KNOWN)
        inner = await self._earlier.usage_within(call.identity)
        self.spent += known.usage + inner
        return known


class StepCalls(CallRecord):
    """Makes an attempt's calls, journaled, unless an earlier attempt has finished them.

    ``afford`` raises when no more may be paid, by what is written down.
    """

    def __init__(
        self,
        runtime: Runtime,
        claim: Claimed,
        afford: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(runtime, claim)
        self._afford = afford
        self._open = OpenCalls()
        #: Where its requests pass the limits that cover its agent, if some do.
        self.passage: Passage | None = None
        #: Where they are counted by budgets, if some count its agent.
        self.purse: Purse | None = None
        #: Who answers its calls, where a router chose.
        self.deployment: str | None = None
        #: Awaited before the first act of a turn that may be answered by caches alone.
        self.gate: Gate | None = None
        self.cache_use: CacheUse = "use"
        #: The least cosine of similar questions that its caller wants.
        self.similarity = 0.0

    async def make(
        self,
        name: str,
        perform: Perform,
        *,
        fingerprint: str = "",
        once: bool = False,
        expect: Expect | None = None,
        cache: Cacheable | None = None,
        step: CacheAsker | None = None,
    ) -> Answer:
        """Make a call; see :meth:`agents.base.StepContext.call`.

        ``step``: of a call whose answer may be cached, who asks.
        """
        check(name, fingerprint)
        call = self._next(name, fingerprint)
        with self._open.entered(call.identity, enclosing(self._claim.id), name if once else ""):
            if (known := await self._replayed(call, expect)) is not None:
                return known
            if cache is not None and step is not None and self.cache_use != "off":
                return await self._cached_or_made(call, cache, perform, expect, step)
            return await self._admitted(call, perform, expect, once=once)

    async def _replayed(self, call: CallId, expect: Expect | None) -> Answer | None:
        """The answer of an earlier attempt, which needs no admission."""
        known = await self._known(call)
        if known is not None and expect is not None and self.passage is not None:
            self.passage.makes_calls()
        return known

    async def _cached_or_made(
        self,
        call: CallId,
        cache: Cacheable,
        perform: Perform,
        expect: Expect | None,
        step: CacheAsker,
    ) -> Answer:
        """The cached answer, which becomes one of this step; else make the call, and cache it."""
        claim, name, helpers = self._claim, cache.caching.name, None
        likeness: Likeness | None = None
        if cache.meaning is not None:
            helpers = step.helpers()
            likeness = Likeness(helpers, claim.tenant, self.similarity)
        caches = self._runtime.agents.caches
        key = caches.shared.hidden(cache.key(claim.tenant))
        asked = Sought(key, name, claim.id, claim.priority)
        # What is asked for an answer's sake is not asked for again once that is known.
        with within(claim.id, call.identity):
            async with caches.asking(asked, cache, self.cache_use, likeness) as asking:
                if (found := asking.found) is not None:
                    if self.passage is not None:
                        self.passage.makes_calls()
                    if asking.untrusted:
                        await step.distrust()
                    served = replace(call, name=f"cache:{call.name}"[:NAME_MAX])
                    answer = await self._make(served, lambda: found, free=True)
                else:
                    if self.cache_use == "use":
                        perform = _counted(call, perform, asked, caches)
                    answer = await self._admitted(call, perform, expect)
                    kept = answer.model_copy(update={"deployment": None})
                    asking.put(kept, untrusted=await step.has_read())
        if helpers is None:
            return answer
        return answer.model_copy(update={"usage": answer.usage + helpers.spent})

    async def _admitted(
        self, call: CallId, perform: Perform, expect: Expect | None, *, once: bool = False
    ) -> Answer:
        """Make the call, once it may be made and its budgets have what it may cost."""
        charge: Charge | None = None
        if self.purse is not None and expect is not None:
            key = (self._claim.id, call.seq, self._claim.token)
            charge = await self.purse.charge(expect, key)
        if charge is None:
            await self._enter(None)
            return await self._limited(call, perform, expect, once=once)
        try:
            await self._enter(charge)
            return await self._limited(call, perform, expect, once=once, charge=charge)
        finally:
            charge.close()

    async def _enter(self, charge: Charge | None) -> None:
        if (gate := self.gate) is not None:
            self.gate = None
            await gate.enter(charge)

    async def _limited(
        self,
        call: CallId,
        perform: Perform,
        expect: Expect | None,
        *,
        once: bool,
        charge: Charge | None = None,
    ) -> Answer:
        """Make the call when the limits of its agent let it pass."""
        if self.passage is None or expect is None:
            if charge is not None:
                await charge.reserve()
            return await self._make(call, perform, once=once, charge=charge)
        async with self.passage.request(expect, charge) as request:
            answer = await self._make(call, perform, once=once, charge=charge)
            request.usage = answer.usage
            return answer

    async def _make(
        self,
        call: CallId,
        perform: Perform,
        *,
        once: bool = False,
        charge: Charge | None = None,
        free: bool = False,
    ) -> Answer:
        if self._afford is not None and not free:
            await in_thread(self.written)  # its own count too
            await in_thread(self._afford)
        begun = await self._rows.begin(call, once=once, charge=charge)
        late = begun is Begun.KNOWN  # a worker whose lease ran out finished it late
        if late and (known := await self._known(call, anew=True)) is not None:
            return known
        _refuse(begun, call)
        if charge is not None:
            await self._rows.confirm(call, charge)
        return await self._perform(call, perform, charge, counts=not free)

    def around(self) -> tuple[tuple[str, ...], str]:
        """The calls in which the code that asks stands; see :meth:`OpenCalls.around`."""
        return self._open.around(enclosing(self._claim.id))

    async def still(self, *, beside: Collection[str]) -> bool:
        """Return whether no call is under way but these; see :meth:`OpenCalls.still`."""
        return await self._open.still(beside=beside)

    async def _perform(
        self, call: CallId, perform: Perform, charge: Charge | None, *, counts: bool
    ) -> Answer:
        limit = self._runtime.settings.answer_limit_bytes
        try:
            result = await self._performed(call, perform)
        except AgentsError as error:
            # A call that failed may have cost something all the same; its error tells.
            usage = usage_of(error)
            self.spent += usage
            _count(self._runtime, self._claim.agent, usage, ok=False)
            self._rows.failed(call, bounded(ErrorInfo.of(error), limit), usage, charge, error)
            raise
        except BaseException as error:
            if charge is not None:  # what it cost is known, as far as it came
                told = bounded(told_of(error), limit)
                self._rows.failed(call, told, FREE, charge, error)
            raise
        if self.deployment is not None:
            result = result.model_copy(update={"deployment": self.deployment})
            self._earlier.here[call.identity] = result
        self.spent += result.usage
        if counts:  # what a cache has served was no act
            _count(self._runtime, self._claim.agent, result.usage, ok=True)
        self._rows.answered(call, result, charge)
        return result

    async def _performed(self, call: CallId, perform: Perform) -> Answer:
        with within(self._claim.id, call.identity), _traced(self._runtime, self._claim, call):
            result = await performed(call.name, perform, call.key)
        limit = self._runtime.settings.answer_limit_bytes
        if (error := too_large(result.value, limit)) is not None:
            error.details["usage"] = result.usage.compact()
            raise error
        return result


def _counted(call: CallId, perform: Perform, asked: Sought, caches: Caches) -> Perform:
    """Count a miss when the question is asked, and not when it is refused before that."""

    async def asks(key: str) -> Answer:
        caches.shared.missed(asked.name)
        return await performed(call.name, perform, key)

    return asks


def _traced(runtime: Runtime, claim: Claimed, call: CallId) -> AbstractContextManager[None]:
    """Have the spans of other libraries hang below the call's own."""
    if runtime.tracing is None:
        return _UNTRACED
    return runtime.tracing.below(span_of_call(claim.id, claim.token, call.seq))


def _count(runtime: Runtime, agent: str | None, usage: Usage, *, ok: bool) -> None:
    if runtime.metrics is not None:
        runtime.metrics.called(agent, usage, ok=ok)


def _refuse(begun: Begun | Before, call: CallId) -> None:
    """Raise the error of a call that was not begun now."""
    if isinstance(begun, Before):
        raise UncertainCallError.of(call.name, begun.at, call.key)
    if begun is not Begun.YES:
        raise StepCancelledError("Another worker has its lease; the call was not made.")


def usage_of(error: AgentsError) -> Usage:
    """Return the cost of a failed call if its error tells it; anybody may have raised that."""
    try:
        return Usage.model_validate(error.details.get("usage") or {})
    except ValidationError:
        return FREE
