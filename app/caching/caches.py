"""The way of a call through the caches: this process's, that of all workers, then one who asks."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agents.caching.cacheable import Cacheable, worth_usd
from agents.caching.local import Known, LocalAnswers
from app.caching.semantic import Helpers, Similar, SimilarAnswers
from app.caching.shared import Found, Missed, SharedAnswers, Sought, Taken
from app.caching.waiting import Awaits, Followers
from app.concurrency.fibers import arrival
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.journal.stores.memos import Memos
from app.settings import Settings
from celery_agents.contracts.caching import CacheUse
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import RetryableError
from celery_agents.noted import note
from celery_agents.values import KNOWN
from celery_agents.wire.messages import to_json

log = logging.getLogger(__name__)

#: For so long an answer of this process is served without asking Redis whether it is still so.
CONFIRMED_S = 1.0
#: Beside an answer of whoever had read what others wrote.
_UNTRUSTED = "untrusted"
#: Of a lease: how often a leader says that it is there.
_RENEWALS = 3


class Caches:
    """The cached answers of one process.

    Args:
        shared: those of all workers.
        local: those of this process; None: it keeps none.
        wake: publishes messages for steps that waited for an answer; it blocks.
        memos: of the journal, for audits of similar answers.
    """

    def __init__(
        self,
        shared: SharedAnswers,
        local: LocalAnswers | None,
        wake: Callable[[Sequence[str]], object],
        memos: Callable[[], Memos],
        *,
        lease_s: float,
    ) -> None:
        self.shared = shared
        self._local = local
        self._renew_s = lease_s / _RENEWALS
        self.similar = SimilarAnswers(shared, memos)
        self.followers = Followers(shared, wake, process_loop)

    @classmethod
    def connect(
        cls,
        settings: Settings,
        wake: Callable[[Sequence[str]], object],
        memos: Callable[[], Memos],
    ) -> Caches:
        """Make the caches of these settings; nothing is opened before their first use."""
        shared, local = SharedAnswers.connect(settings), local_answers(settings.cache_local_max)
        return cls(shared, local, wake, memos, lease_s=settings.lease_s)

    @asynccontextmanager
    async def asking(
        self, asked: Sought, what: Cacheable, use: CacheUse, likeness: Likeness | None = None
    ) -> AsyncIterator[Lookup]:
        """Look for an answer. Where there is none, whoever asks is to ``put`` it, or nothing.

        Raises:
            AwaitsAnswerError: another step asks the same just now.
        """
        found, missed = await self._look(asked, use)
        if found is not None:
            yield found
            return
        asks, leads = Lookup(), missed.leads
        renewing = _Renewing(self.shared, asked, self._renew_s) if leads else None
        began = time.monotonic()
        try:
            similar = await self._similar_to(asked, what, use, None if missed.away else likeness)
            if similar is not None and similar.answer is not None and not similar.audited:
                asks.take(similar.answer.text or "")
            yield asks
        except BaseException as error:
            if leads:
                passes = isinstance(error, RetryableError | asyncio.CancelledError)
                self._left(asked, alone=not passes)
            raise
        finally:
            if renewing is not None:
                renewing.end()
        answer = asks.given
        if answer is not None and what.good(answer):
            told = to_json(answer.compact() | ({_UNTRUSTED: True} if asks.untrusted else {}))
            self._put(asked, what, (answer, told), time.monotonic() - began, similar)
            await self._compare(asked, what, answer, similar, likeness)
        elif leads:
            self._left(asked, alone=True)

    async def _similar_to(
        self, asked: Sought, what: Cacheable, use: CacheUse, likeness: Likeness | None
    ) -> Similar | None:
        if likeness is None or use != "use":
            return None
        about = (likeness.least, likeness.helpers, likeness.tenant)
        return await self.similar.look(asked, what, *about)

    async def _compare(
        self,
        asked: Sought,
        what: Cacheable,
        answer: Answer,
        similar: Similar | None,
        likeness: Likeness | None,
    ) -> None:
        """Compare a new answer with that of a similar question, where it was asked for that."""
        if likeness is None or similar is None or similar.answer is None:
            return
        both = (_read(similar.answer.text or "")[0], answer)
        await self.similar.compared(asked.name, what, both, likeness.helpers)

    async def _look(self, asked: Sought, use: CacheUse) -> tuple[Lookup | None, Missed]:
        known = None if self._local is None or use == "refresh" else self._local.get(asked.key)
        if known is not None and time.monotonic() - known.confirmed_at < CONFIRMED_S:
            counted = self.shared.look(asked, "count", known.until)
            counted.add_done_callback(lambda done: self._confirm(asked.key, done.result()))
            return Lookup().take(known.text), Missed()
        told = await arrival(self.shared.look(asked, use, None if known is None else known.until))
        if isinstance(told, Taken):
            raise Awaits(asked, told.lease_s).error()
        missed = told if isinstance(told, Missed) else Missed()
        return self._found(asked.key, known, told), missed

    def _found(self, key: str, known: Known | None, told: Found | Missed) -> Lookup | None:
        if isinstance(told, Missed):
            self._confirm(key, told)
            return Lookup().take(known.text) if told.away and known is not None else None
        text = known.text if told.text is None and known is not None else told.text
        if text is None:
            return None
        if self._local is not None and told.text is not None:
            self._local.put(key, text, told.until, told.until / 1000 - time.time())
        self._confirm(key, told)
        return Lookup().take(text)

    def _confirm(self, key: str, told: Any) -> None:
        away = isinstance(told, Missed) and told.away
        if self._local is not None and not away:
            self._local.confirm(key, told.until if isinstance(told, Found) else 0)

    def _put(
        self,
        asked: Sought,
        what: Cacheable,
        given: tuple[Answer, str],
        elapsed_s: float,
        similar: Similar | None = None,
    ) -> None:
        answer, text = given
        meant = similar is not None and what.meaning is not None and what.meaning.said(answer)
        near = (similar.partition, similar.packed) if similar and meant is not None else None
        told = self.shared.put(
            asked,
            text,
            ttl_s=what.caching.policy.ttl_s,
            price_usd=answer.usage.cost_usd or 0.0,
            worth_usd=worth_usd(answer, elapsed_s),
            near=near,
        )
        told.add_done_callback(lambda done: self.followers.wake(done.result()[1]))

    def _left(self, asked: Sought, *, alone: bool) -> None:
        told = self.shared.leave(asked, alone=alone)
        told.add_done_callback(self._woken)

    def _woken(self, told: Future[list[str]]) -> None:
        self.followers.wake(told.result())


@dataclass(frozen=True, slots=True)
class Likeness:
    """How similar questions are looked for: by whom, for whom, from which cosine on."""

    helpers: Helpers
    tenant: str
    least: float


class Lookup:
    """A question to the caches: its answer, if they have it; else they are given one."""

    def __init__(self) -> None:
        self.found: Answer | None = None
        self.given: Answer | None = None
        #: Whether whoever gave the answer had read what others wrote.
        self.untrusted = False

    def take(self, text: str) -> Lookup:
        """Have an answer as the caches keep it."""
        self.found, self.untrusted = _read(text)
        return self

    def put(self, answer: Answer, *, untrusted: bool) -> None:
        """Give the answer that came."""
        self.given, self.untrusted = answer, untrusted


class _Renewing:
    """Renews a leader's lease until it ends, on the loop: one that stands still is gone."""

    def __init__(self, answers: SharedAnswers, asked: Sought, every_s: float) -> None:
        self._answers = answers
        self._asked = asked
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every_s, self._renew)

    def end(self) -> None:
        self._timer.cancel()

    def _renew(self) -> None:
        self._answers.renew(self._asked)
        self._timer = self._loop.call_later(self._every_s, self._renew)


def local_answers(most: int) -> LocalAnswers | None:
    """The answers of this process, at most so many; None where it keeps none."""
    if not most:
        return None
    try:
        return LocalAnswers(most)
    except ImportError as error:
        text = "No answers are cached in memory: pip install 'celery-agents[cache]'"
        note(log, "cache_local", text, error=error)
        return None


def _read(text: str) -> tuple[Answer, bool]:
    """A cached answer as it is for who asks now: it costs nothing. And whether it is untrusted."""
    told = json.loads(text)
    untrusted = bool(told.pop(_UNTRUSTED, False))
    answer = Answer.model_validate(told, context=KNOWN)
    saved = Usage(saved_usd=answer.usage.cost_usd or 0.0)
    return answer.model_copy(update={"usage": saved}), untrusted
