"""``agents.replicated``: values that several data centres change at once (CRDTs)."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import JsonValue, tenant_of
from celery_agents.contracts.flows.replicated import (
    DataType,
    ReplicatedInfo,
    ReplicatedState,
    changes_of,
    path_of,
    replicated_stream,
    type_of,
)

#: Seconds for a worker to answer.
_TIMEOUT_S = 10.0


class Replicas:
    """Opens replicated values by their types and names; those of a tenant, or nobody's."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def counter(self, name: str, *, tenant: str = "") -> ReplicatedCounter:
        """A counter that goes up and down (PN-counter)."""
        return ReplicatedCounter(self._control, _place("counter", name, tenant))

    def register(self, name: str, *, tenant: str = "") -> ReplicatedRegister:
        """A value of which the last writer's counts (LWW-register)."""
        return ReplicatedRegister(self._control, _place("register", name, tenant))

    def set(self, name: str, *, tenant: str = "") -> ReplicatedSet:
        """A set in which an addition wins over a removal that has not seen it (OR-set)."""
        return ReplicatedSet(self._control, _place("set", name, tenant))

    def map(self, name: str, *, tenant: str = "") -> ReplicatedMap:
        """Fields that are such values themselves (OR-map)."""
        return ReplicatedMap(self._control, _place("map", name, tenant))

    def list(
        self,
        type: DataType | None = None,  # noqa: A002 - as callers write it
        *,
        tenant: str = "",
        limit: int = 100,
        timeout: float = _TIMEOUT_S,
    ) -> builtins.list[ReplicatedInfo]:
        """Values of this type, or of all, by their names."""
        only = None if type is None else type_of(type)
        asked = self._control.ask(names.REPLICATED_VALUES, only, tenant_of(tenant), limit)
        return [ReplicatedInfo.model_validate(one) for one in asked.get(timeout=timeout)]


class _Place(NamedTuple):
    """A value, and the fields of maps that lead to a part of it."""

    data_type: DataType
    name: str
    tenant: str
    path: tuple[str, ...] = ()


def _place(data_type: DataType, name: str, tenant: str) -> _Place:
    replicated_stream(data_type, name)  # it can be one
    return _Place(data_type, name, tenant_of(tenant))


class _Replica:
    """A value, or a field of one; a worker reads and changes it."""

    def __init__(self, control: Control, place: _Place) -> None:
        self._control, self._place = control, place

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'/'.join([self._place.name, *self._place.path])}>"

    def state(self, *, timeout: float = _TIMEOUT_S) -> ReplicatedState:
        """It as this data centre has it, with the version of the whole value."""
        return self._asked(None, {}, timeout)

    def value(self, *, timeout: float = _TIMEOUT_S) -> Any:
        """The value as this data centre has it now."""
        return self.state(timeout=timeout).value

    def clear(
        self,
        *,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> Any:
        """Take away all that is known of it here; the value then."""
        return self._change("clear", [None], id, timeout)

    def _change(
        self, act: str, values: list[JsonValue], change_id: str | None, timeout: float
    ) -> Any:
        told = [{"act": act, "path": [*self._place.path], "value": value} for value in values]
        changes_of(told, self._place.data_type)
        about = {} if change_id is None else {"change_id": change_id}
        return self._asked(told, about, timeout).value

    def _asked(
        self, changes: list[Any] | None, about: dict[str, Any], timeout: float
    ) -> ReplicatedState:
        data_type, name, tenant, path = self._place
        options = {**about, "tenant": tenant, "path": [*path]}
        asked = self._control.ask(
            names.REPLICATED,
            *(data_type, name, changes),
            recorded=changes is not None,
            options=options,
        )
        return ReplicatedState.model_validate(asked.get(timeout=timeout))


class ReplicatedCounter(_Replica):
    """A counter that goes up and down."""

    def increment(
        self,
        by: int = 1,
        *,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> int:
        """Let it go up; said again under its ``id``, here, it is the same. The value then.

        Raises:
            InvalidPayloadError: it is no whole number, or above 2**53.
        """
        return int(self._change("increment", [by], id, timeout))

    def decrement(
        self,
        by: int = 1,
        *,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> int:
        """Let it go down. As :meth:`increment`."""
        return int(self._change("increment", [-by], id, timeout))


class ReplicatedRegister(_Replica):
    """A value of which the last writer's counts."""

    def assign(
        self,
        value: JsonValue,
        *,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> Any:
        """Replace it; the value then."""
        return self._change("assign", [value], id, timeout)


class ReplicatedSet(_Replica):
    """A set in which an addition wins over a removal that has not seen it."""

    def add(
        self,
        *elements: JsonValue,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> list[Any]:
        """Add elements; the value then."""
        found: list[Any] = self._change("add", [*elements], id, timeout)
        return found

    def discard(
        self,
        *elements: JsonValue,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> list[Any]:
        """Take elements away, as far as they are known here; the value then."""
        found: list[Any] = self._change("discard", [*elements], id, timeout)
        return found


class ReplicatedMap(_Replica):
    """Fields that are replicated values themselves; of one name and two types they are two."""

    def counter(self, field: str) -> ReplicatedCounter:
        """A field that is a counter."""
        return ReplicatedCounter(self._control, self._field("counter", field))

    def register(self, field: str) -> ReplicatedRegister:
        """A field that is a register."""
        return ReplicatedRegister(self._control, self._field("register", field))

    def set(self, field: str) -> ReplicatedSet:
        """A field that is a set."""
        return ReplicatedSet(self._control, self._field("set", field))

    def map(self, field: str) -> ReplicatedMap:
        """A field that is a map."""
        return ReplicatedMap(self._control, self._field("map", field))

    def remove(
        self,
        type: DataType,  # noqa: A002 - as callers write it
        field: str,
        *,
        id: str | None = None,  # noqa: A002 - as callers write it
        timeout: float = _TIMEOUT_S,
    ) -> dict[str, Any]:
        """Take a field away, as far as it is known here; the value then."""
        named = f"{type_of(type)}:{field}"
        found: dict[str, Any] = self._change("remove", [named], id, timeout)
        return found

    def _field(self, data_type: DataType, field: str) -> _Place:
        path = path_of([*self._place.path, f"{data_type}:{field}"], "map")
        return self._place._replace(path=tuple(path))
