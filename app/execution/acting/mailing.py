"""Messages on their way to actors: checked against the classes that are here, then posted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from app.concurrency.fibers import blocking
from app.execution.acting.hearing import CALLED
from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.actors.store import ActorStore
from app.journal.schema.rows import NewStep
from celery_agents import names
from celery_agents.contracts.flows.actors import ACTOR, AddressedMessage, actor_run_id
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import AgentsError, InvalidPayloadError, RetryableError

#: Of an actor's row: as often as any step may be tried without getting on, and in the middle.
_TRIES, _PRIORITY = 100, 5


class Postmark(NamedTuple):
    """The service's own words on messages: whose they are, whether an answer is waited for."""

    tenant: str
    queue: str
    wanted: bool = False
    chain: tuple[str, ...] = ()


def post(
    runtime: Runtime, told: Sequence[AddressedMessage], about: Postmark, said: str
) -> list[str]:
    """Put messages into mailboxes; their ids: ``said`` with their number, where they have none.

    Raises:
        UnknownActorError: there is no such actor or method here; nothing is told.
        PayloadTooLargeError: a message is; nothing is told.
    """
    mails, ids = dict[tuple[str, str], Mail](), list[str]()
    for number, one in enumerate(told):
        runtime.agents.registry.flows.method(one.actor, one.method)
        one.refuse_large(runtime.settings.payload_limit_bytes)
        ids.append(one.id or (said if len(told) == 1 else f"{said}#{number}"))
        if (mail := mails.get((one.actor, one.key))) is None:
            mail = mails[one.actor, one.key] = Mail(_row(one, about), [])
        mail.messages.append(MailboxEntry(ids[-1], _data(one, ids[-1], about)))
    runtime.follow(ActorStore(runtime.journal).post([*mails.values()]))
    return ids


def refuse_calls(ids: Iterable[str | None]) -> None:
    """Refuse ids of messages that only steps give, each of its own.

    Raises:
        InvalidPayloadError: there is such a one.
    """
    for one in ids:
        if one is not None and one.startswith(CALLED):
            raise InvalidPayloadError(f"id: {CALLED!r} begins those of steps; choose another.")


def called(
    step: Step, asker: str, told: AddressedMessage, chain: tuple[str, ...]
) -> dict[str, Any] | None:
    """Ask an actor on behalf of another one; its answer, if it is there. Raises as :func:`post`.

    Raises:
        ActorCycleError: it waits for whoever asks.
        ActorEndedError: it will not answer.
    """
    store, known = ActorStore(step.runtime.journal), f"{CALLED}{step.step_id}"
    to = actor_run_id(step.tenant, told.actor, told.key)
    if step.tries == 1 or not blocking(store.knows, step.tenant, to, known):
        store.refuse_circle(step.step_id, asker, to)
    about = Postmark(step.tenant, step.claim.queue, wanted=True, chain=chain)
    blocking(post, step.runtime, [told], about, known)
    return blocking(store.answer, step.tenant, to, known)


def told_each(step: Step, told: Sequence[AddressedMessage]) -> list[Any]:
    """Put messages into mailboxes; the numbers of those that are refused, and why."""
    about, refused = Postmark(step.tenant, step.claim.queue), list[Any]()
    for number, one in enumerate(told):
        try:
            blocking(post, step.runtime, [one], about, f"{CALLED}{step.step_id}#{number}")
        except RetryableError:
            raise
        except AgentsError as error:
            refused.append([number, ErrorInfo.of(error).compact()])
    return refused


def _data(one: AddressedMessage, message_id: str, about: Postmark) -> dict[str, Any]:
    """A message in its mailbox: what the sender says stands apart from what the service knows."""
    value = {
        "id": message_id,
        "wanted": about.wanted,
        "chain": [*about.chain],
        "message": one.about,
    }
    return {"name": one.method, "value": value}


def _row(one: AddressedMessage, about: Postmark) -> NewStep:
    """The row of an actor that nobody has told anything before.

    It is what a request for its flow would be: of each message one is made, so none is read.
    """
    run_id = actor_run_id(about.tenant, one.actor, one.key)
    told = {"actor": one.actor, "key": one.key, "tenant": about.tenant}
    options = {"flow": f"{ACTOR}{one.actor}", "retry": {"max_attempts": _TRIES}}
    return NewStep(
        id=run_id,
        run_id=run_id,
        task=names.FLOW,
        queue=about.queue,
        payload={"args": [told], "kwargs": options},
        max_attempts=_TRIES,
        agent=f"{ACTOR}{one.actor}",
        priority=_PRIORITY,
        tenant=about.tenant,
    )
