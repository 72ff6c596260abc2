"""The payload of ``agents.task``: a Celery task of any app, as a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import Contract, JsonObject, JsonValue, Name, mistakes
from celery_agents.errors import InvalidPayloadError

#: Where Celery sends a task that nobody routes.
DEFAULT_QUEUE = "celery"


class TaskArguments(Contract):
    """The arguments of a task."""

    args: tuple[JsonValue, ...] = ()
    kwargs: JsonObject = Field(default_factory=dict)


class CeleryTask(StepOptions):
    """Run a task of another app, whose result is the answer; ``input`` has its arguments.

    Without a ``queue`` it goes to that of an agent of the kind ``celery`` with this task, or else
    to Celery's default queue.
    """

    task: Name
    queue: Name | None = None

    @property
    def arguments(self) -> TaskArguments:
        """The arguments that the task is given.

        Raises:
            InvalidPayloadError: the input is none.
        """
        try:
            return TaskArguments.model_validate(self.input or {})
        except ValidationError as error:
            place, why = mistakes(error, TaskArguments)[0]
            raise InvalidPayloadError(f"input.{place}: {why}") from None


#: Options of a signature that say where it goes, and those that only its sending has.
_QUEUE = "queue"
_SENDING = frozenset(
    {"task_id", "reply_to", "headers", "argsrepr", "kwargsrepr", "priority", "stamped_headers"}
    | {"group_id", "group_index", "root_id", "parent_id", "link", "link_error", "immutable"}
    | {"replaced_task_nesting", "options", "chord"}
)


def queue_of(signature: Mapping[str, Any]) -> str | None:
    """The queue that a signature names.

    Raises:
        InvalidPayloadError: it has an option that a step has not, such as ``countdown``.
    """
    options = {k: v for k, v in (signature.get("options") or {}).items() if v is not None}
    if other := sorted(options.keys() - _SENDING - {_QUEUE}):
        raise InvalidPayloadError(
            f"{signature['task']}: the option {other[0]} is not of a durable step. A flow waits by "
            "`asyncio.sleep`; queues are named by `queue`."
        )
    queue = options.get(_QUEUE)
    return getattr(queue, "name", queue)
