"""Values that the journal encrypts, by the keys of its engine: all who use that use them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row

from app.journal.schema.engine import SEALS
from app.journal.schema.rows import Claim, Claimed, Finished, NewEntry, NewExchange, NewStep
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Outcome
from celery_agents.redaction import MOST
from celery_agents.redaction.cleaning import clean
from celery_agents.sealing import (
    EVENT,
    EXCHANGE,
    MARK,
    SUMMARY,
    Seals,
    opened,
    opened_outcome,
    opened_payload,
    readable,
    sealed_outcome,
    sealed_value,
    shown,
)

#: What of a call's answer is no content.
_OF_ANSWER = frozenset({"usage", "deployment"})


def sealed_by(of: Connection | Engine) -> Seals | None:
    """The seals of this database; None: nothing is encrypted."""
    found: Seals | None = of.get_execution_options().get(SEALS)
    return found


def sealed_step(seals: Seals | None, new: NewStep) -> NewStep:
    """A row to be made, its payload encrypted."""
    if seals is None:
        return new
    return replace(new, payload=seals.seal_payload(new.payload, new.id))


def opened_claim(seals: Seals | None, claim: Claim, new: NewStep | None = None) -> Claim:
    """A claim as its step is worked on; of a row that was just made of ``new``, which is plain.

    Raises:
        UnreadableValueError: its payload, or its outcome, cannot be read.
    """
    match claim:
        case Claimed(token=1) if seals is None:  # nobody looks into it, but to read what it is
            return claim
        case Claimed(token=1) if new is not None:
            return replace(claim, payload=new.payload)
        case Claimed():
            return replace(claim, payload=opened_payload(seals, claim.payload, claim.id))
        case Finished():
            return replace(
                claim,
                payload=opened_payload(seals, claim.payload, claim.id),
                outcome=opened_end(seals, claim.outcome, claim.id),
            )
        case _:
            return claim


def opened_end(seals: Seals | None, outcome: Outcome, step_id: str) -> Outcome:
    """The outcome of a step, its value opened. Raises as above."""
    if not isinstance(outcome.value, dict):
        return outcome
    told = opened_outcome(seals, {"value": outcome.value}, step_id)
    return outcome.model_copy(update=_with_turns(told))


def _with_turns(told: dict[str, Any]) -> dict[str, Any]:
    if "turns" not in told:
        return told
    turns = Outcome.model_validate({"state": "succeeded", "turns": told["turns"]}).turns
    return {**told, "turns": turns}


def sealed_end(
    seals: Seals | None, claim: Claimed, outcome: Outcome, exchange: NewExchange | None
) -> tuple[Outcome, NewExchange | None]:
    """The outcome of a step, and what it adds to its session, encrypted."""
    outcome = sealed_outcome(seals, outcome, claim.id)
    if exchange is None or seals is None:
        return outcome, exchange
    messages = seals.seal(exchange.data["messages"], claim.run_id, EXCHANGE)
    data = {**exchange.data, "messages": messages}
    if "summary" in data:
        data["summary"] = seals.seal(data["summary"], claim.run_id, SUMMARY)
    return outcome, replace(exchange, data=data)


def opened_exchange(seals: Seals | None, data: dict[str, Any], run_id: str | None) -> Any:
    """An exchange as a run is told it. Raises as above."""
    told = {**data, "messages": opened(seals, data["messages"], run_id or "", EXCHANGE)}
    if "summary" in data:
        told["summary"] = opened(seals, data["summary"], run_id or "", SUMMARY)
    return told


def shown_exchange(seals: Seals | None, data: dict[str, Any], run_id: str | None) -> Any:
    """An exchange for people."""
    told = readable(lambda: opened_exchange(seals, data, run_id))
    if isinstance(told, str):
        told = {**data, "messages": [{"role": "assistant", "content": told}], "summary": None}
    return told


def sealed_entry(seals: Seals | None, entry: NewEntry, seq: int) -> dict[str, Any]:
    """The data of a stream's entry, encrypted, bound to its place."""
    where = stream_place(entry.tenant, entry.stream)
    told: dict[str, Any] = sealed_value(seals, entry.data, where, entry_field(seq))
    return told


def opened_entry(seals: Seals | None, where: tuple[str, str], seq: int, data: Any) -> Any:
    """The data of an entry of a tenant's stream. Raises as above."""
    if MARK not in data:
        return data
    return opened(seals, data, stream_place(*where), entry_field(seq))


def sealed_state(seals: Seals | None, where: tuple[str, str, str], state: Any) -> dict[str, Any]:
    """The state that a reducer made of a tenant's stream, encrypted."""
    data, (*stream, reducer) = {"state": state}, where
    if seals is None:
        return data
    return seals.seal(data, stream_place(*stream), f"snapshot/{reducer}")


def opened_state(seals: Seals | None, where: tuple[str, str, str], data: Any) -> Any:
    """The state that a reducer made. Raises as above."""
    if MARK in data:
        *stream, reducer = where
        data = opened(seals, data, stream_place(*stream), f"snapshot/{reducer}")
    return data["state"]


def sealed_target(seals: Seals | None, target: dict[str, Any], place: str) -> dict[str, Any]:
    """The run that a schedule starts, its payload encrypted."""
    return target if seals is None else {**target, **seals.seal_payload(target, place)}


def opened_target(seals: Seals | None, target: dict[str, Any], place: str) -> dict[str, Any]:
    """The same as it is started. Raises as above."""
    return {**target, **opened_payload(seals, target, place)}


def sealed_agent(seals: Seals | None, entry: dict[str, Any], name: str) -> dict[str, Any]:
    """An agent that was made over the API, its instructions encrypted."""
    if seals is None or entry.get(_INSTRUCTIONS) is None:
        return entry
    return {**entry, _INSTRUCTIONS: seals.seal(entry[_INSTRUCTIONS], name, _AGENT)}


def opened_agent(seals: Seals | None, entry: dict[str, Any], name: str) -> dict[str, Any]:
    """The same as it is offered. Raises as above."""
    told = entry.get(_INSTRUCTIONS)
    return {**entry, _INSTRUCTIONS: opened(seals, told, name, _AGENT)} if told else entry


def sealed_memory(
    seals: Seals | None, told: str, memory_id: str, **more: JsonValue
) -> dict[str, Any]:
    """The data of a memory, encrypted."""
    data = {"text": told, **more}
    return data if seals is None else seals.seal(data, memory_id, _MEMORY)


def opened_memory(seals: Seals | None, data: Any, memory_id: str) -> str:
    """The text of a memory. Raises as above."""
    return str(memory_data(seals, data, memory_id)["text"])


def memory_data(seals: Seals | None, data: Any, memory_id: str) -> Any:
    """The data of a memory: its text, and what is kept beside that. Raises as above."""
    return opened(seals, data, memory_id, _MEMORY)


def sealed_vector(seals: Seals | None, told: str, space_id: int, place: int) -> dict[str, Any]:
    """The data of a vector, encrypted: it says as good as its memory's text."""
    data = {"vector": told}
    return data if seals is None else seals.seal(data, f"{space_id}/{place}", _VECTOR)


def opened_vector(seals: Seals | None, data: Any, space_id: int, place: int) -> str:
    """A vector. Raises as above."""
    return str(opened(seals, data, f"{space_id}/{place}", _VECTOR)["vector"])


#: What of an agent is encrypted, and the field to which it is bound.
_INSTRUCTIONS, _AGENT = "instructions", "agent/instructions"
#: The field of a memory in which its text stands, and that of its place in a space with its vector.
_MEMORY, _VECTOR = "memory", "vector"


def stream_place(tenant: str, stream: str) -> str:
    """The place to which what a stream has belongs."""
    return f"{tenant}\x1f{stream}"


def entry_field(seq: int) -> str:
    """The field of a stream in which an entry stands."""
    return f"entry/{seq}"


def sealed_answer(seals: Seals, answer: dict[str, Any], step_id: str, identity: str) -> Any:
    """The answer to a call; who gave it and what it cost stay readable."""
    hidden = {name: value for name, value in answer.items() if name not in _OF_ANSWER}
    return {**_clear(answer), **seals.seal(hidden, step_id, call_field(identity))}


def opened_answer(seals: Seals | None, answer: dict[str, Any], step_id: str, identity: str) -> Any:
    """The answer to a call. Raises as above."""
    if MARK not in answer:
        return answer
    sealed = {MARK: answer[MARK]}
    return {**_clear(answer), **opened(seals, sealed, step_id, call_field(identity))}


def _clear(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name in _OF_ANSWER}


def call_field(identity: str) -> str:
    """The field of a step in which the answer to a call stands."""
    return f"call/{identity}"


def event_shown(seals: Seals | None, found: Row[Any]) -> dict[str, Any]:
    """An event of a step for people."""
    row = dict(found._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    data, step_id = row["data"], row["step_id"]
    if not data:
        return row
    told = {n: shown(seals, v, step_id, EVENT) for n, v in data.items()}
    return {**row, "data": clean(told, limit=MOST)}
