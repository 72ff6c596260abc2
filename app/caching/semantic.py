"""Answers of similar questions: found by their vectors, held against their words, and audited.

Vectors stand beside the answers in Redis, and each process mirrors those of the partitions that it
looks into. A partition is of one agent, one tenant and one kind of request: all that the request
has but its text. Audits are memos of the journal: a layer that was switched off stays off, for all
workers, whatever becomes of Redis.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from agents.caching.audit import Audit
from agents.caching.cacheable import Cacheable
from agents.caching.likeness import alike
from agents.values import digest
from app.caching.shared import Found, SharedAnswers, Sought
from app.concurrency.fibers import arrival, in_thread
from app.journal.stores.memos import Memos
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.caching import SemanticPolicy
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import AgentsError
from celery_agents.noted import note

if TYPE_CHECKING:
    from agents.caching.near import Near

log = logging.getLogger(__name__)

#: Partitions that a process mirrors; the one that was looked into longest ago goes.
PARTITIONS = 64
#: Candidates that are looked at: the nearest ones may have been dropped, or say the opposite.
CANDIDATES = 8
#: So long a process goes by what it knows of an audit.
AUDIT_S = 1.0
#: Characters of a text that is looked for; the longer one is, the less a vector says of it.
TEXT_MAX = 2_000


class Helpers(Protocol):
    """Agents that a step asks about questions and answers, each at its own cost."""

    async def vector(self, agent: str, text: str) -> bytes | None:
        """The normalised vector of a text; None where the agent gives none."""
        ...

    async def same(self, agent: str, question: str, answers: tuple[JsonValue, JsonValue]) -> bool:
        """Return whether two answers to a question say the same."""
        ...

    async def note(self, kind: str, data: list[dict[str, str]]) -> None:
        """Write events of the step."""
        ...


@dataclass(frozen=True, slots=True)
class Similar:
    """A question as it is looked for, and the answer of one that is similar."""

    partition: str
    vector: bytes
    text: str
    answer: Found | None = None
    #: It is asked all the same, and compared.
    audited: bool = False

    @property
    def packed(self) -> bytes:
        """The vector with its text, as Redis has them."""
        return len(self.vector).to_bytes(4, "big") + self.vector + self.text.encode()


class SimilarAnswers:
    """The semantic layer of one process."""

    def __init__(
        self,
        answers: SharedAnswers,
        memos: Callable[[], Memos],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._answers = answers
        self._memos = memos
        self._draw = draw
        self._mirrors: OrderedDict[str, _Mirror] = OrderedDict()
        self._audits: dict[str, tuple[float, Audit]] = {}

    async def look(
        self, asked: Sought, what: Cacheable, threshold: float, helpers: Helpers, tenant: str
    ) -> Similar | None:
        """Look for the answer of a similar question; None where the layer is off or of no use."""
        policy, meaning = what.caching.policy.semantic, what.meaning
        if policy is None or meaning is None or len(meaning.text) > TEXT_MAX:
            return None
        try:
            audit = await self._audit(asked.name, policy)
            if audit.off:
                return None
            vector = await helpers.vector(policy.embed, meaning.text)
        except AgentsError as error:
            note(
                log, "cache_semantic", "No similar answer of %s is sought", asked.name, error=error
            )
            return None
        if vector is None:
            return None
        audited = audit.is_due(policy.audit, policy.proving, self._draw())
        group = self._answers.hidden(what.partition(tenant))
        least = max(threshold, policy.threshold)
        how = "compare" if audited else "similar"
        found = await self._nearest(asked, (group, vector, meaning.text), least, how)
        return Similar(group, vector, meaning.text, found, audited)

    async def compared(
        self, name: str, what: Cacheable, answers: tuple[Answer, Answer], helpers: Helpers
    ) -> None:
        """Count whether the answer of a similar question is that of this one."""
        policy, meaning = what.caching.policy.semantic, what.meaning
        assert policy is not None
        assert meaning is not None
        old, new = (meaning.said(answer) for answer in answers)
        try:
            same = _plain(old) == _plain(new)
            if not same and policy.judge is not None and isinstance(old, str):
                same = await helpers.same(policy.judge, meaning.text, (old, new))
            audit = await self._counted(name, policy, same=same)
        except AgentsError as error:
            note(log, "cache_audit", "A similar answer of %s was not compared", name, error=error)
            return
        if audit.off:
            told = f"{audit.wrong} of {audit.compared} similar answers were wrong"
            note(log, "cache_off", "No similar answers of %s are served any more: %s", name, told)
            await helpers.note("cache_off", [{"agent": name, "why": told}])

    async def _audit(self, name: str, policy: SemanticPolicy) -> Audit:
        key = _memo_key(name, policy)
        at, audit = self._audits.get(key, (0.0, Audit()))
        if not audit.off and time.monotonic() - at >= AUDIT_S:
            audit = await in_thread(read_audit, self._memos(), name, policy)
            self._audits[key] = (time.monotonic(), audit)
        return audit

    async def _counted(self, name: str, policy: SemanticPolicy, *, same: bool) -> Audit:
        key, bounds = _memo_key(name, policy), policy.model_dump(include={"max_error", "proving"})

        def revise(memo: dict[str, Any]) -> dict[str, Any]:
            return Audit.read(memo).after(same=same, **bounds).compact()

        audit = Audit.read(await in_thread(self._memos().change, key, revise))
        self._audits[key] = (time.monotonic(), audit)
        return audit

    async def _nearest(
        self, asked: Sought, question: tuple[str, bytes, str], least: float, how: str
    ) -> Found | None:
        group, vector, asking = question
        near = await self._mirror(group).read(self._answers, vector)
        if near is None:
            return None
        looked = 0
        for key, text in [*near.above(vector, least)]:
            if looked == CANDIDATES:
                break
            if not alike(asking, text):
                continue
            looked += 1
            one = Sought(key, asked.name, asked.step_id)
            told = await arrival(self._answers.look(one, how))
            if isinstance(told, Found):
                return told
            near.drop(key)  # it made room for others, or has ended
        return None

    def _mirror(self, partition: str) -> _Mirror:
        mirror = self._mirrors.setdefault(partition, _Mirror(partition))
        self._mirrors.move_to_end(partition)
        if len(self._mirrors) > PARTITIONS:
            self._mirrors.popitem(last=False)
        return mirror


class _Mirror:
    """The vectors of a partition, as far as this process has read them."""

    def __init__(self, partition: str) -> None:
        self._partition = partition
        self._near: Near | None = None
        self._last = 0
        self._reading = asyncio.Lock()

    async def read(self, answers: SharedAnswers, like: bytes) -> Near | None:
        """Read what is new, and give all; None where there is nothing."""
        from agents.caching.near import Near

        async with self._reading:
            while True:
                newest, found = await arrival(answers.near(self._partition, self._last))
                if newest < self._last:  # Redis was emptied, and counts anew
                    self._near, self._last = None, 0
                    continue
                for place, key, packed in found:
                    self._last = place
                    if not packed:  # nobody can read it any more
                        continue
                    if self._near is None:
                        self._near = Near(len(like) // 4)
                    size = int.from_bytes(packed[:4], "big")
                    self._near.add(key, packed[4 : 4 + size], packed[4 + size :].decode())
                if not found:
                    return self._near


def _plain(said: JsonValue) -> JsonValue:
    """A text without what changes nothing of it; any other value as it is."""
    return " ".join(said.casefold().split()).rstrip(".!") if isinstance(said, str) else said


def read_audit(memos: Memos, name: str, policy: SemanticPolicy) -> Audit:
    """How the similar answers of an agent were found to be."""
    return Audit.read(memos.read(_memo_key(name, policy)))


def _memo_key(name: str, policy: SemanticPolicy) -> str:
    """The key of an audit: whoever changes what is found begins anew."""
    about = [policy.embed, policy.judge, policy.threshold, policy.max_error]
    return f"semantic:{name}:{digest(about)[:8]}"
