"""Answering steps that wait for a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, literal_column, select, true, tuple_
from sqlalchemy.orm import aliased

from app.journal.schema.engine import now
from app.journal.schema.models import Step
from app.journal.schema.rows import Aftermath
from app.journal.schema.sealed import sealed_by
from app.journal.schema.transactions import is_again
from app.journal.schema.wake_columns import wake_columns, wake_of
from app.journal.steps import joins
from app.journal.steps.finishes import event
from app.journal.steps.outcomes import Conclusion, conclude
from celery_agents import names
from celery_agents.contracts.approval import (
    CLIENT,
    ClientRequest,
    PersonAnswer,
    ToolApproval,
    Wish,
    is_asked,
)
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import InvalidPayloadError, NotAllowedError
from celery_agents.sealing import (
    EVENT,
    Seals,
    opened_outcome,
    opened_payload,
    readable,
    sealed_outcome,
    sealed_value,
)


def approve(
    connection: Connection,
    run_id: str,
    choice: JsonValue,
    rules: joins.Rules,
    key: str,
    *,
    by: str = "",
    role: str = "",
) -> Aftermath:
    """Answer the wish of that key. The first answer to one counts; the same again is none.

    ``by``: whose answer it is, as the audit names him; ``role``: his, where a key has told.

    Raises:
        InvalidPayloadError: it does not wait for a person, or the choice is not one.
        NotAllowedError: others are asked.
    """
    row = waiting(connection, run_id, key)
    if row is None and (told := _told(connection, run_id, choice, key, by)) is not None:
        return replace(told, applied=is_again(connection))  # else its message came twice
    if row is None:
        raise _late(run_id, key)
    seals = rules.seals
    asked = opened_payload(seals, row.payload, row.id)["args"][0]
    if not is_asked(by, asked.get("by") or (), role):
        raise NotAllowedError(f"Others are asked: {', '.join(asked['by'])}. You are {by}.")
    said, value = _read(choice, asked, by)
    outcome = Outcome(
        state=State.SUCCEEDED, value=value, member=row.member, duration_s=row.elapsed_s
    )
    outcome = sealed_outcome(seals, outcome, row.id)
    noted = sealed_value(seals, said, row.id, EVENT)
    ending = Conclusion(row.id, None, outcome, row.parent_id, run_id)
    after = conclude(connection, [ending], rules)[0]
    if not after.applied:  # somebody else was a moment quicker, and whoever comes late is told
        raise _late(run_id, key)
    connection.execute(event(run_id, row.id, "approved", {"option": noted}))
    return after


def _late(run_id: str, key: str) -> InvalidPayloadError:
    return InvalidPayloadError(f"No wish {key} of run {run_id} waits for a person.")


def _read(choice: JsonValue, asked: dict[str, Any], by: str) -> tuple[JsonValue, JsonValue]:
    """Return a person's decision in a word, and the answer as it is told to the one that asked."""
    if asked.get("asks") == "flow":
        try:
            answer = PersonAnswer.of(choice, asked.get("choices"), by)
        except ValueError as error:
            raise InvalidPayloadError(f"{choice!r} is no answer to that: {error}.") from None
        return answer.choice, answer.compact()
    if asked.get("asks") == CLIENT:
        if (wrong := ClientRequest.model_validate(asked["request"]).problem(choice)) is not None:
            raise InvalidPayloadError(f"That is no answer of a client: {wrong}.")
        return "answered", choice
    return (_verdict(choice) if "tool" in asked else _option(choice, asked)), choice


def _option(choice: JsonValue, asked: dict[str, Any]) -> JsonValue:
    """The option that a person chose."""
    choices = asked.get("choices")
    option = choice.get("option") if isinstance(choice, dict) else choice
    if choices and option not in choices:
        raise InvalidPayloadError(f"{option!r} is not one of {', '.join(choices)}.")
    return option


def _verdict(choice: JsonValue) -> str:
    """Say in a word what a person decided about a tool."""
    try:
        verdict = ToolApproval.of(choice)
    except ValueError as error:
        raise InvalidPayloadError(
            f"{choice!r} is no answer to the wish for a tool: {error}."
        ) from None
    return ("changed" if verdict.arguments is not None else "yes") if verdict.approved else "no"


def _told(
    connection: Connection, run_id: str, choice: JsonValue, key: str, by: str
) -> Aftermath | None:
    """Return the effects of this very answer if it was given before; None: it was not."""
    parent = aliased(Step)
    row = connection.execute(
        select(Step.outcome, Step.payload, parent.state, *wake_columns(parent))
        .join(parent, parent.id == Step.parent_id)
        .where(Step.id == key, Step.run_id == run_id)
        .where(Step.task == names.APPROVAL, Step.state == State.SUCCEEDED)
    ).first()
    if row is None:
        return None
    seals = sealed_by(connection)
    asked = opened_payload(seals, row.payload, key)["args"][0]
    if opened_outcome(seals, row.outcome, key)["value"] != _read(choice, asked, by)[1]:
        return None
    return Aftermath(wakes=[wake_of(row[3:])] if row.state == State.READY else [])


def oldest(connection: Connection, run_id: str) -> str:
    """Return the key of the wish that an answer without one is for.

    It is read before the answer is written: a write whose answer is lost is tried again, and by
    then another one is the oldest, on which nobody has decided.

    Raises:
        InvalidPayloadError: there is none; or it is a tool's or a flow's, of which a run may have
            several: an answer that comes late, or twice, would be one to the next of them.
    """
    row = waiting(connection, run_id)
    if row is None:
        raise InvalidPayloadError(f"Nothing in run {run_id} waits for a person.")
    asked = opened_payload(sealed_by(connection), row.payload, row.id)["args"][0]
    if "tool" in asked or "asks" in asked:
        who = "a tool" if "tool" in asked else "a flow"
        raise InvalidPayloadError(f"In run {run_id} {who} waits: give the key of its wish.")
    return str(row.id)


def waiting(connection: Connection, run_id: str, key: str | None = None) -> Any:
    """The wish of that key, or the oldest one of the run; None when there is none."""
    return connection.execute(
        select(
            Step.id,
            Step.parent_id,
            Step.member,
            Step.payload,
            (now() - Step.created_at).label("elapsed_s"),  # since the person was asked
        )
        .where(Step.run_id == run_id, *_OPEN)
        .where(true() if key is None else Step.id == key)
        .order_by(Step.created_at, Step.position)
    ).first()


def wishes(
    connection: Connection,
    run_id: str | None,
    limit: int,
    tenant: str | None = None,
    after: str | None = None,
) -> list[dict[str, Any]]:
    """All that waits for a person, of one run, one tenant, or all, oldest first.

    ``after``: only what stands behind the wish of that key, which may be answered by now. See
    :class:`Wish`.
    """
    rows = connection.execute(
        select(Step.id, Step.run_id, Step.payload, Step.created_at)
        .where(*_OPEN, true() if run_id is None else Step.run_id == run_id)
        .where(true() if tenant is None else Step.tenant == tenant)
        .where(true() if after is None else _behind(connection, after))
        .order_by(*_OLDEST)
        .limit(limit)
    )
    seals = sealed_by(connection)
    return [_wish(row, seals).model_dump(mode="json") for row in rows]


_OLDEST = (Step.created_at, Step.position, Step.id)


def _behind(connection: Connection, key: str) -> Any:
    place = connection.execute(select(*_OLDEST).where(Step.id == key)).first()
    return true() if place is None else tuple_(*_OLDEST) > tuple_(*place)


#: Its words stand in the partial index ``ix_steps_asking``.
_OPEN = (
    Step.task == literal_column(f"'{names.APPROVAL}'"),
    Step.state == literal_column(f"'{State.WAITING}'"),
)


def _wish(row: Any, seals: Seals | None) -> Wish:
    asked = readable(lambda: opened_payload(seals, row.payload, row.id)["args"][0])
    if not isinstance(asked, dict):  # it cannot be read
        asked = {"question": asked}
    about = {name: asked[name] for name in _SHOWN if name in asked}
    return Wish(key=row.id, run_id=row.run_id, since=row.created_at, **about)


_SHOWN = ("asks", "tool", "arguments", "why", "question", "choices", "by", "request")
