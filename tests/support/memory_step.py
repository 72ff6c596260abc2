"""A step in memory, and a worker that dies: of the checkout or, rewritten, of the wheel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from agents.base import Answer
from agents.graphs import GraphLine
from celery_agents.contracts.outcome import Outcome, Usage
from celery_agents.errors import AgentsError, UncertainCallError


class KilledError(BaseException):
    """The worker dies here."""


class World:
    """Counts what is paid and done, and dies where it is told to."""

    def __init__(self) -> None:
        self.models: Counter[str] = Counter()
        self.tools: Counter[str] = Counter()
        self.left: int | None = None  # acts before it dies

    def act(self, counter: Counter[str], what: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KilledError
        counter[what] += 1


class MemoryLines:
    """GraphLines that are dicts."""

    def __init__(self) -> None:
        self._threads: dict[str, dict[tuple[str, str], GraphLine]] = {}

    def put(self, thread: str, lines: Sequence[GraphLine], *, anew: Collection[str] = ()) -> None:
        there = self._threads.setdefault(thread, {})
        for line in lines:
            if line.key in anew or (line.kind, line.key) not in there:
                there[line.kind, line.key] = line

    def get(self, thread: str, kind: str, keys: Collection[str] | None = None) -> list[GraphLine]:
        found = self._threads.get(thread, {}).values()
        return [ln for ln in found if ln.kind == kind and (keys is None or ln.key in keys)]

    def newest(self, thread: str, kind: str) -> GraphLine | None:
        return max(self.get(thread, kind), key=lambda line: line.key, default=None)

    def every(self, thread: str | None, kind: str) -> list[GraphLine]:
        threads = self._threads if thread is None else {thread: self._threads.get(thread, {})}
        found = [ln for t in threads.values() for ln in t.values() if ln.kind.startswith(kind)]
        return sorted(found, key=lambda line: line.key, reverse=True)

    def of_runs(self, run_ids: Collection[str], kind: str) -> list[GraphLine]:
        return [line for line in self.every(None, kind) if line.run_id in run_ids]

    def drop(
        self, thread: str, kind: str | None = None, keys: Collection[str] | None = None
    ) -> None:
        for line in self.every(thread, kind or ""):
            if keys is None or line.key in keys:
                del self._threads[thread][line.kind, line.key]


class MemoryStep:
    """A StepContext whose journal is a dict; `again()` is the step's next attempt."""

    step_id = "step-1"
    run_id = "run-1"

    def __init__(self) -> None:
        self.attempt = self.tries = 1
        self.calls: list[str] = []  # performed, in all attempts
        self.finished: dict[tuple[str, str, int], Answer] = {}
        self.streamed = False
        self.events: list[tuple[str, object]] = []
        self.told: list[dict[str, object]] = []
        self.ended: dict[str, Outcome] = {}
        self.begun: set[tuple[str, str, int]] = set()
        self.spent = Usage()
        self.distrusted = False
        self.graphs = MemoryLines()
        self._times: Counter[tuple[str, str]] = Counter()
        self._numbers: dict[tuple[str, str, int], int] = {}

    def again(self) -> MemoryStep:
        self.attempt += 1
        self.tries += 1
        self._times.clear()
        self.spent = Usage()
        return self

    async def call(
        self,
        name: str,
        perform: Callable[[str], Awaitable[Answer]],
        *,
        fingerprint: str = "",
        once: bool = False,
        expect: Any = None,
        cache: Any = None,
    ) -> Answer:
        call = (name, fingerprint, self._times[name, fingerprint])
        self._times[name, fingerprint] += 1
        if call in self.finished:
            self.spent += self.finished[call].usage
            return self.finished[call]
        key = f"{self.step_id}-{self._numbers.setdefault(call, len(self._numbers) + 1)}"
        if once and call in self.begun:
            raise UncertainCallError.of(name, 0.0, key)
        self.begun.add(call)
        self.calls.append(name)
        try:
            answer = await perform(key)
        except AgentsError:
            self.begun.discard(call)
            raise
        # As a journal does: what is kept is JSON.
        kept = Answer.model_validate_json(answer.model_dump_json())
        self.finished[call] = kept
        self.spent += kept.usage
        return kept

    def memory(self, name: str) -> Any:
        raise AssertionError(f"{name} is a memory, and this step has no journal")

    async def spent_in_all(self) -> Usage:
        return sum((answer.usage for answer in self.finished.values()), Usage())

    async def made(
        self, name: str, *, fingerprint: str = "", once: bool = False, after: int = 0
    ) -> bool:
        call = (name, fingerprint, self._times[name, fingerprint] + after)
        return call in self.finished or (once and call in self.begun)

    ways = ()

    def did(self, name: str) -> None:
        """Do nothing: nobody learns from it."""

    async def distrust(self) -> None:
        self.distrusted = True

    async def untrusted(self, about: str) -> bool:
        return self.distrusted

    async def ask(self, agent: object, input: object = None, **_: object) -> Any:  # noqa: A002 - as it is called
        raise AssertionError(f"{agent} is asked {input!r} by a step that has no journal")

    async def answered(self) -> dict[str, Outcome]:
        return self.ended

    def say(self, text: str) -> None:
        self.events.append(("text", text))

    def tell(self, kind: str, **data: object) -> None:
        self.events.append((kind, data))

    def emit(self, stream: str, kind: str, data: Any, *, key: str | None = None) -> None:
        self.told.append({"stream": stream, "kind": kind, "data": data, "key": key})

    async def progress(self, **fields: object) -> None:
        self.told.append(fields)
