"""Random canvases of Celery, and what its eager execution makes of them.

``python -m tests.support.canvases 5000`` holds so many against it.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

from celery import Celery, chain, chord, current_app, group

from agents.flows.history import Line
from agents.flows.pattern import advance, begun, dropped
from agents.flows.workflow import workflow
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import AgentFailedError
from celery_agents.wire.durable import compiled

#: Calls of the tasks, by name and arguments, since it was cleared.
calls: Counter[str] = Counter()
app = Celery("canvases", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.update(task_always_eager=True, task_eager_propagates=True, task_store_eager_result=False)


def _work(name: str, *told: Any) -> Any:
    calls[f"{name} {told}"] += 1
    if name == "canvases.total":
        return sum(_flat(told))
    return [name[9:], *told]


def _flat(value: Any) -> list[int]:
    if isinstance(value, list | tuple):
        return [n for one in value for n in _flat(one)]
    return [value if isinstance(value, int) else len(value)]


def _task(name: str) -> Any:
    def work(*told: Any) -> Any:
        return _work(f"canvases.{name}", *told)

    return app.task(name=f"canvases.{name}")(work)


pair, total, note = (_task(name) for name in ("pair", "total", "note"))
broken = _task("broken")
BROKEN = ErrorInfo.of(AgentFailedError("it is broken")).compact()


def signature(rng: random.Random) -> Any:
    task = rng.choice((pair, total))
    made = task.signature(tuple(rng.randint(0, 9) for _ in range(rng.randint(0, 2))))
    if rng.random() < 0.2:
        made = task.si(*made.args)
    if rng.random() < 0.2:
        made.link(note.s(rng.randint(0, 9)))
    return made


def canvas(rng: random.Random, depth: int = 3) -> Any:
    """A random canvas, nested as deep as that."""
    if depth == 0:
        return signature(rng)
    kinds = {
        "task": lambda: signature(rng),
        "chain": lambda: chain(*_several(rng, depth)),
        "group": lambda: group(*_several(rng, depth)),
        "chord": lambda: chord(_several(rng, depth), signature(rng)),
        "map": lambda: total.map([[n, n + 1] for n in range(rng.randint(0, 3))]),
        "starmap": lambda: pair.starmap([(n, 2) for n in range(rng.randint(0, 3))]),
        "chunks": lambda: pair.chunks(_pairs(rng), rng.randint(1, 3)).group(),
        "or": lambda: canvas(rng, depth - 1) | canvas(rng, depth - 1),
    }
    return kinds[rng.choice([*kinds, "chain"])]()


def _pairs(rng: random.Random) -> list[tuple[int, int]]:
    return [(n, 1) for n in range(rng.randint(1, 5))]


def _several(rng: random.Random, depth: int) -> list[Any]:
    return [canvas(rng, depth - 1) for _ in range(rng.randint(1, 3))]


def eager(made: Any) -> tuple[Any, Counter[str]]:
    """The result of Celery's eager execution, and its calls."""
    calls.clear()
    return plain(made.apply().get()), Counter(calls)


def durable(made: Any, rng: random.Random) -> tuple[Any, Counter[str]]:
    """The same of its workflow, whose steps end in a random order, each wake a replay."""
    calls.clear()
    told = compiled(made).compact()
    history: list[Line] = []
    left: dict[str, Any] = {}
    news, at = [Line("started", "", 1.0)], 1.0
    while True:
        instance = begun(workflow, "run", told, history)
        assert instance.difference is None, instance.difference
        found = advance(instance, workflow, told, news, at)
        dropped(instance)
        history += [Line.of(line.kind, line.data) for line in found.lines]
        if found.outcome is not None:
            return plain(found.outcome.value), Counter(calls)
        left |= {m.key: m for m in found.members}
        news, at = [], at + 1.0
        for key in rng.sample([*left], rng.randint(1, len(left))):
            asked: Any = left.pop(key)
            value = _work(asked.options["task"], *asked.input["args"])
            failed = asked.options["task"] == "canvases.broken"
            news.append(Line("failed", key, at, BROKEN) if failed else Line("done", key, at, value))


def plain(value: Any) -> Any:
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def differing(count: int) -> list[int]:
    """The seeds of those, among so many, that give another value, or call others."""
    found, before = [], current_app._get_current_object()
    app.set_current()  # that of the builtin tasks
    for seed in range(count):
        rng = random.Random(seed)
        made = canvas(rng, rng.randint(1, 4))
        try:
            expected = eager(made)
        except (TypeError, AttributeError, IndexError, KeyError) as error:  # Celery cannot run it
            unrun[type(error).__name__] += 1
            continue
        if durable(made, rng) != expected:
            found.append(seed)
    before.set_current()
    return found


#: Canvases that Celery itself cannot run eagerly, by its errors.
unrun: Counter[str] = Counter()

if __name__ == "__main__":
    wrong = differing(int(sys.argv[1]))
    print(f"{len(wrong)} of {sys.argv[1]} differ: {wrong[:20]}; Celery runs not: {dict(unrun)}")
