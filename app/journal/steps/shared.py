"""Members' payloads without what the row of their parent holds already.

The instructions of a map, or the question of a vote, would stand in the row of each member. Its
payload leaves them out and says where in the parent's payload they are; who takes the step reads
them there. The parent's row is there as long as its members' are: cleaning deletes whole runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from app.journal.schema.engine import as_json
from app.journal.schema.models import Step, table
from app.journal.schema.sealed import sealed_by
from celery_agents.errors import InvalidPayloadError
from celery_agents.sealing import opened_payload

Payload = dict[str, Any]  # {"args": […], "kwargs": {…}}
#: The key of a payload that leaves something out, beside those of its arguments: it says of its
#: input and of its options where in the parent's payload they are.
SHARED = "shared"
#: Characters of JSON below which a value stays: saying where it is takes a tenth of that.
LEAST = 512
#: The same of options that more than so many members have: they add up.
LEAST_OF_MANY, _FEW = 64, 10
#: What people see of an input that is elsewhere.
ELSEWHERE = "(its pattern's)"
#: How deep a value is looked for: the arguments, an option, an entry of its list, that's option.
_DEPTH = 4
_S = table(Step).c


class Lender:
    """A parent's payload, parts of which its members' payloads refer to."""

    def __init__(self, payload: Mapping[str, Any], members: int = 1) -> None:
        self._payload = payload = dict(payload)
        self._least = LEAST if members <= _FEW else LEAST_OF_MANY
        self._worth = len(as_json(payload)) >= self._least
        self._places: dict[str, list[Any]] | None = None
        self._known: dict[int, tuple[Any, Payload, Payload]] = {}  # members share their options

    def member(self, told: Any, options: dict[str, Any]) -> Payload:
        """The payload of a member with this input and these options."""
        if not self._worth:
            return {"args": [told], "kwargs": options}
        if id(options) not in self._known:
            self._known[id(options)] = (options, *self._split(options))
        _, own, borrowed = self._known[id(options)]
        shared: Payload = {"kwargs": borrowed} if borrowed else {}
        if (place := self._place(told, LEAST)) is not None:
            shared, told = {**shared, "input": place}, ELSEWHERE
        return {"args": [told], "kwargs": own} | ({SHARED: shared} if shared else {})

    def _split(self, options: dict[str, Any]) -> tuple[Payload, Payload]:
        """The options that stay, and the places of the others."""
        places = {name: self._place(value, self._least) for name, value in options.items()}
        borrowed = {name: place for name, place in places.items() if place is not None}
        return {n: v for n, v in options.items() if n not in borrowed}, borrowed

    def _place(self, value: Any, least: int) -> list[Any] | None:
        key = _key(value, least)
        if key is None:
            return None
        if self._places is None:
            self._places = {}
            self._look(self._payload.get("args", []), ["args"], LEAST)
            self._look(self._payload.get("kwargs", {}), ["kwargs"], self._least)
        return self._places.get(key)

    def _look(self, value: Any, path: list[Any], least: int) -> None:
        """Note the places of a value and of what is in it; the first one of equals counts."""
        key = _key(value, least)
        if key is None:  # nor is anything in it large enough
            return
        assert self._places is not None
        self._places.setdefault(key, path)
        if len(path) < _DEPTH and not isinstance(value, str):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for name, inner in pairs:
                self._look(inner, [*path, name], least)


def _key(value: Any, least: int) -> str | None:
    """Return the JSON text of a value that is worth sharing."""
    if isinstance(value, str):
        return f'"{value}' if len(value) >= least else None
    if not isinstance(value, (dict, list, tuple)) or not value:
        return None
    said = as_json(value)
    return said if len(said) >= least else None


def filled(payload: Mapping[str, Any], parents: Mapping[str, Any]) -> Payload:
    """Return a member's payload with the shared parts of its parent's filled in."""
    shared = payload[SHARED]
    args, borrowed = payload["args"], shared.get("kwargs", {})
    if "input" in shared:
        args = [_at(parents, shared["input"])]
    options = {name: _at(parents, place) for name, place in borrowed.items()}
    return {"args": args, "kwargs": payload["kwargs"] | options}


def _at(payload: Any, place: Sequence[Any]) -> Any:
    for name in place:
        payload = payload[name]
    return payload


class Wholes:
    """Reads whole payloads of steps, each parent's once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seals = sealed_by(connection)
        self._known: dict[str, Payload] = {}

    def __call__(self, step_id: str, parent_id: str | None, payload: Mapping[str, Any]) -> Payload:
        """The whole payload of a step that has this parent.

        Raises:
            InvalidPayloadError: its parent is gone, so its run was cleaned up.
            UnreadableValueError: it cannot be decrypted.
        """
        payload = opened_payload(self._seals, payload, step_id)
        if SHARED not in payload:
            return payload
        return filled(payload, self.of(parent_id))

    def of(self, step_id: str | None) -> Payload:
        """The whole payload of a step. Raises as above."""
        assert step_id is not None, "what is shared is a parent's"
        if step_id not in self._known:
            row = self._connection.execute(_PAYLOAD, {"b_id": step_id}).first()
            if row is None:
                raise InvalidPayloadError(f"The step {step_id} is gone: its run was cleaned up.")
            self._known[step_id] = self(step_id, row.parent_id, row.payload)
        return self._known[step_id]


_PAYLOAD = select(_S.payload, _S.parent_id).where(_S.id == bindparam("b_id"))
