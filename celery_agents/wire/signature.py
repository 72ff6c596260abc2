"""The signature of a step: Celery's, but for the ids that it gives."""

from __future__ import annotations

from typing import Any, Self

from celery import Signature

from celery_agents.wire.ids import new_id
from celery_agents.wire.routing import FOLLOWS, name_queues


class StepSignature(Signature):
    """Gives ids that begin with the time, as all steps have them (see ids.py).

    Celery's are random: in a journal of any size each link of a chain, and each member of a group,
    would touch pages of its own.
    """

    def freeze(self, _id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As Celery's: the id stays as it is, once it has one."""
        return super().freeze(_id or self.options.get("task_id") or new_id(), *args, **kwargs)

    _freeze = freeze

    def clone(self, *args: Any, **kwargs: Any) -> Self:
        """As Celery's; canvases are made of clones."""
        clone = type(self)(super().clone(*args, **kwargs), app=self._app)
        clone._type = self._type  # noqa: SLF001 - of its own class
        return clone

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """As Celery's, but that what follows goes to the queues of its own apps."""
        for name in FOLLOWS:
            for said in (options, self.options):
                name_queues(said.get(name), self._app)
        if "task_id" not in self.options:
            options.setdefault("task_id", new_id())
        return super().apply_async(*args, **options)
