"""A Celery canvas compiled to a workflow: each task of it a step.

The rules are those of Celery's eager execution: a result is put before the arguments of what
follows, unless that is immutable; a group in a group is spliced; a group gives the list of its
results. The items of ``map``, ``starmap`` and ``chunks`` are steps of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from celery_agents.contracts.base import read_as
from celery_agents.contracts.flows.workflow import Workflow, WorkflowStep, keys_in
from celery_agents.errors import InvalidPayloadError

Sig = Mapping[str, Any]
#: Opens the arguments of a signature, where they are encrypted.
Opened = Callable[[Sig], Sig]
_WORKFLOW: TypeAdapter[Workflow] = TypeAdapter(Workflow)
#: Characters of a task's name that its step's key has.
_SHORT = 60


@dataclass(frozen=True, slots=True)
class _Before:
    """Ends that come before a part of a canvas, and what it is given."""

    takes: Any = None  # a source; None: nothing is put before the arguments
    needs: tuple[str, ...] = ()
    args: tuple[Any, ...] = ()
    errbacks: tuple[Sig, ...] = ()  # of what it stands in

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.needs, *keys_in(self.takes))))


def compiled(signature: Sig, opened: Opened = dict) -> Workflow:
    """Compile a canvas; ``opened`` gives a signature whose arguments can be read.

    Raises:
        InvalidPayloadError: it has options that a step has not, or a part that is no canvas.
    """
    found = _Compiler(opened)
    result = found.add(signature, _Before())
    return read_as(_WORKFLOW, {"steps": found.steps, "result": result}, "canvas")


class _Compiler:
    def __init__(self, opened: Opened) -> None:
        self.steps: list[WorkflowStep] = []
        self._opened = opened
        self._parts = {
            "celery.chain": self._chain,
            "celery.group": self._group,
            "celery.chord": self._chord,
            "celery.map": self._map,
            "celery.starmap": self._map,
            "celery.chunks": self._chunks,
        }

    def add(self, signature: Sig, before: _Before) -> Any:
        """Add the steps of a part; returns the source of its result."""
        task = signature["task"]
        if (part := self._parts.get(task)) is None:
            if task.startswith("celery."):
                raise InvalidPayloadError(f"canvas: {task} cannot be made durable.")
            return self._task(signature, before)
        if signature.get("immutable"):
            before = replace(before, takes=None, needs=before.keys)
        before = replace(
            before,
            args=(*before.args, *(signature.get("args") or ())),
            errbacks=(*before.errbacks, *_follows(signature, "link_error")),
        )
        start = len(self.steps)
        result = part(signature, before)
        for link in _follows(signature, "link"):
            self._aside(link, _Before(takes=result, needs=_keys(self.steps[start:], before)))
        return result

    def _task(self, signature: Sig, before: _Before) -> str:
        known = self._opened(signature)
        alone = known.get("immutable")
        step = WorkflowStep.of(
            self._key(known["task"]),
            known,
            args=(*(() if alone else before.args), *(known.get("args") or ())),
            takes=None if alone else _plain(before.takes),
            needs=before.keys if alone else before.needs,
            alone=bool(alone),
        )
        self.steps.append(step)
        for link in _follows(known, "link"):
            self._aside(link, _Before(takes=step.key))
        self._errbacks((*before.errbacks, *_follows(known, "link_error")), (step.key,))
        return step.key

    def _chain(self, signature: Sig, before: _Before) -> Any:
        result = None
        for part in signature["kwargs"]["tasks"]:
            start = len(self.steps)
            result = self.add(part, before)
            needs = _keys(self.steps[start:], before)
            # Where nothing of it is awaited, what follows still comes behind it.
            needs = () if [*keys_in(result)] else needs
            before = _Before(takes=result, needs=needs, errbacks=before.errbacks)
        return result

    def _group(self, signature: Sig, before: _Before) -> list[Any]:
        return [self.add(part, before) for part in _spliced(signature)]

    def _chord(self, signature: Sig, before: _Before) -> Any:
        told = signature["kwargs"]
        header, body = told["header"], told["body"]
        if not isinstance(header, Mapping):
            header = {"task": "celery.group", "kwargs": {"tasks": header}, "options": {}}
        start = len(self.steps)
        inner = replace(before, errbacks=())
        result = self.add(header, inner)
        keys = _keys(self.steps[start:], before)
        after = _Before(takes=result, needs=() if result else keys, errbacks=before.errbacks)
        errbacks = (*before.errbacks, *_follows(body, "link_error"))
        self._errbacks(errbacks, keys)  # that its body cannot begin is told by its own
        return self.add(body, after)

    def _map(self, signature: Sig, before: _Before) -> list[str]:
        told, star = signature["kwargs"], signature["task"] == "celery.starmap"
        return [self._item(told["task"], (*one,) if star else (one,), before) for one in told["it"]]

    def _chunks(self, signature: Sig, before: _Before) -> list[Any]:
        told = signature["kwargs"]
        items, size = [*told["it"]], told["n"]
        parts = [items[n : n + size] for n in range(0, len(items), size)]
        return [[self._item(told["task"], (*one,), before) for one in part] for part in parts]

    def _item(self, task: Sig, args: tuple[Any, ...], before: _Before) -> str:
        bare = {"task": task["task"], "args": args, "options": task.get("options"), "immutable": 1}
        return self._task(bare, before)

    def _errbacks(self, errbacks: Iterable[Sig], keys: tuple[str, ...]) -> None:
        for one in errbacks:
            self._aside(one, _Before(needs=keys), on="failure")

    def _aside(self, signature: Sig, before: _Before, **options: Any) -> None:
        """Add callbacks, whose failure is their own."""
        start = len(self.steps)
        self.add(signature, before)
        first = {"on": options["on"]} if options else {}
        roots = {s.key for s in self.steps[start:] if set(s.waits_for) <= set(before.keys)}
        self.steps[start:] = [
            s.model_copy(update={"aside": True} | (first if s.key in roots else {}))
            for s in self.steps[start:]
        ]

    def _key(self, task: str) -> str:
        short = task.rpartition(".")[2][-_SHORT:].replace("@", "_")
        return f"{short}:{len(self.steps) + 1}"


def _spliced(signature: Sig) -> list[Sig]:
    """The parts of a group, with those of the groups in it."""
    found: list[Sig] = []
    for part in signature["kwargs"]["tasks"]:
        found += _spliced(part) if part["task"] == "celery.group" else [part]
    return found


def _follows(signature: Sig, name: str) -> list[Sig]:
    found = (signature.get("options") or {}).get(name) or []
    return [found] if isinstance(found, Mapping) else [*found]


def _keys(steps: Iterable[WorkflowStep], before: _Before) -> tuple[str, ...]:
    """The keys of the steps of a part; those before it where it has none."""
    return tuple(s.key for s in steps if not s.aside) or before.keys


def _plain(source: Any) -> Any:
    return [*source] if isinstance(source, tuple) else source
