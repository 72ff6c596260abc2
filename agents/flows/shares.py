"""Resources that the steps of a workflow share: who waits for them, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from celery_agents.contracts.flows.workflow import WorkflowStep


class _Waiting(NamedTuple):
    """A step that waits, by its priority and then by when it came."""

    priority: int
    place: int
    uses: Mapping[str, int]
    turn: asyncio.Future[None]


class Shares:
    """Hands resources out to steps, those of the least priority number first.

    A step that has to wait for a resource keeps it from those behind it, so one that needs many is
    not passed for ever by those that need few.
    """

    def __init__(self, resources: Mapping[str, int]) -> None:
        self._free = dict(resources)
        self._waiting: list[_Waiting] = []
        self._places = 0
        self._due = False

    async def take(self, step: WorkflowStep) -> None:
        """Wait until the step has all that it uses."""
        if not step.uses:
            return
        turn = asyncio.get_running_loop().create_future()
        self._places += 1
        self._waiting.append(_Waiting(step.priority, self._places, step.uses, turn))
        self._look_soon()
        await turn

    def give_back(self, step: WorkflowStep) -> None:
        """Give back what the step used."""
        for name, count in step.uses.items():
            self._free[name] += count
        if step.uses:
            self._look_soon()

    def _look_soon(self) -> None:
        """Look once all have come that the same event has let begin."""
        if not self._due:
            self._due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._look)

    def _look(self) -> None:
        self._due, kept, passed = False, list[_Waiting](), set[str]()
        for one in sorted(self._waiting, key=lambda w: w[:2]):
            if one.turn.done():  # whoever waited is cancelled
                continue
            if passed.isdisjoint(one.uses) and self._fits(one.uses):
                for name, count in one.uses.items():
                    self._free[name] -= count
                one.turn.set_result(None)
            else:
                passed.update(one.uses)
                kept.append(one)
        self._waiting = kept

    def _fits(self, uses: Mapping[str, int]) -> bool:
        return all(self._free[name] >= count for name, count in uses.items())
