"""Actors: short tasks for clients that do not see the journal, and the step in which one calls."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.execution.acting import mailing
from app.execution.context import Step
from app.execution.runtime import runtime_of
from app.execution.task import StepTask
from app.journal.actors.store import ActorStore
from celery_agents import names
from celery_agents.contracts.base import PLACES_MAX, JsonValue, id_of, name_of, tenant_of, whole_of
from celery_agents.contracts.flows.actors import ActorCall, AddressedMessage, actor_run_id
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import InvalidPayloadError

#: Actors, and refused messages, of one answer.
LISTED_MAX = 1_000
#: Seconds until a step looks for an answer of which it was not told: the first time, and at most.
_LOOK_S, _LOOK_MAX_S = 1.0, 30.0


@shared_task(name=names.TELL, bind=True, acks_late=True)
def tell(
    self: Any, messages: list[Any], tenant: str = "", *, wanted: bool = False, queue: str = ""
) -> list[str]:
    """Put messages into mailboxes of actors; their ids. Its message may come twice."""
    whose, told = tenant_of(tenant), AddressedMessage.several(messages)
    mailing.refuse_calls([self.request.id, *(one.id for one in told)])
    runtime = runtime_of(self.app, self.request.hostname)
    about = mailing.Postmark(whose, name_of(queue or names.QUEUE), wanted=wanted is True)
    ids = mailing.post(runtime, told, about, self.request.id)
    runtime.intake.forget([self.request.id])
    return ids


@shared_task(name=names.ANSWER, bind=True)
def answer(self: Any, actor: str, key: str, message_id: str, tenant: str = "") -> dict[str, Any]:
    """The answer of an actor to a message; ``done`` is false as long as there is none."""
    whose = tenant_of(tenant)
    run_id = actor_run_id(whose, name_of(actor, "actor"), name_of(key, "key"))
    found = _store_of(self).answer(whose, run_id, id_of(message_id))
    return {"done": False} if found is None else {"done": True, **found}


@shared_task(name=names.ACTORS, bind=True)
def actors(
    self: Any, actor: str | None = None, tenant: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Actors of a tenant, of one name or of all, the newest first."""
    named = None if actor is None else name_of(actor, "actor")
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    return _store_of(self).listed(tenant_of(tenant), named, most)


@shared_task(name=names.ACTOR_STATE, bind=True)
def actor_state(
    self: Any, actor: str, key: str, tenant: str = "", dead_after: int | None = None
) -> Any:
    """An actor with what it keeps, or messages that it refused; None: there is none."""
    where = tenant_of(tenant), name_of(actor, "actor"), name_of(key, "key")
    if dead_after is None:
        return _store_of(self).state(*where)
    after = whole_of(dead_after, "after", least=-1, most=PLACES_MAX)
    return _store_of(self).dead(where[0], actor_run_id(*where), after, LISTED_MAX)


class CallTask(StepTask):
    """A call of an actor: it waits in its fiber, and not in a thread that others need."""

    abstract = True

    def is_brief(self, request: Any) -> bool:  # noqa: ARG002
        """Return True: what it reads and writes it has threads do."""
        return True


@shared_task(base=CallTask, name=names.CALL, request_type=ActorCall)
def call(step: Step, request: ActorCall) -> Expand | Outcome:
    """Tell actors what another one has for them; see ``ActorCall``."""
    told = AddressedMessage.several(request.input)
    mailing.refuse_calls(one.id for one in told)
    if (asker := step.claim.parent_id) is None or (request.wanted and len(told) != 1):
        raise InvalidPayloadError("It is asked for by actors alone.")
    if not request.wanted:
        return _ok(mailing.told_each(step, told))
    found = mailing.called(step, asker, told[0], request.chain)
    if found is None:
        pause_s = min(_LOOK_S * 2.0 ** min(step.tries - 1, 9), _LOOK_MAX_S)
        return Expand(join=JoinPolicy(kind="any", timeout_s=pause_s), awaited=AwaitedAny())
    if (error := found.get("error")) is not None:
        return Outcome(state=State.FAILED, error=ErrorInfo.model_validate(error))
    return _ok(found.get("value"))


def _ok(value: JsonValue) -> Outcome:
    return Outcome(state=State.SUCCEEDED, value=value)


def _store_of(task: Any) -> ActorStore:
    return ActorStore(runtime_of(task.app, task.request.hostname).journal)
