"""Replicated values (CRDTs): what is changed of one, and how it stands."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from celery_agents.contracts.base import Contract, JsonValue, Name, Tenant, read_as
from celery_agents.contracts.flows.entries import REPLICATED
from celery_agents.errors import InvalidPayloadError
from celery_agents.visible import CONTROLS

_VISIBLE = rf"^[^{CONTROLS}]*$"
DataType = Literal["counter", "register", "set", "map"]
TYPES: tuple[DataType, ...] = ("counter", "map", "register", "set")
#: The kind of the entries of a value's stream: what a change has made, to be merged.
DELTA = "delta"
#: Changes that one call may make, maps within maps, and the most that a counter goes by at once.
CHANGES_MAX, DEPTH_MAX, STEP_MAX = 500, 8, 2**53
#: Characters of a name, behind which stands the type.
NAME_MAX = 160
#: Characters of the id of a change, before which stands the journal that made it.
CHANGE_ID_MAX = 150
#: A position in the order of all entries, as texts have it.
POSITION = r"^-?[0-9]{1,18}\.[0-9]{1,18}$"
_NAME: TypeAdapter[str] = TypeAdapter(
    Annotated[str, Field(min_length=1, max_length=NAME_MAX, pattern=_VISIBLE, strict=True)]
)
_TYPE: TypeAdapter[DataType] = TypeAdapter(DataType)
#: A field of a map, with its type before its name: fields of two types are two.
MapField = Annotated[
    str,
    Field(pattern=rf"^(counter|register|set|map):[^{CONTROLS}]+$", max_length=NAME_MAX + 10),
]
_SERVES: dict[str, tuple[DataType, ...]] = {
    "increment": ("counter",),
    "assign": ("register",),
    "add": ("set",),
    "discard": ("set",),
    "remove": ("map",),
    "clear": TYPES,
}


def type_of(value: object) -> DataType:
    """The type of a replicated value.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_TYPE, value, "type")


def replicated_stream(data_type: object, name: object) -> str:
    """The stream of a value. Raises as :func:`type_of`."""
    return f"{REPLICATED}{type_of(data_type)}/{read_as(_NAME, name, 'name')}"


class ReplicatedChange(Contract):
    """A change of a replicated value."""

    act: Literal["increment", "assign", "add", "discard", "remove", "clear"]
    #: The fields of maps within maps that lead to what is changed.
    path: Annotated[tuple[MapField, ...], Field(max_length=DEPTH_MAX)] = ()
    value: JsonValue = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(not field.startswith("map:") for field in self.path[:-1]):
            raise ValueError("path: only maps have fields")
        number = type(self.value) is int and abs(self.value) <= STEP_MAX
        if self.act == "increment" and not number:
            raise ValueError("a counter goes by a whole number, up to 2**53")
        return self


_CHANGES: TypeAdapter[list[ReplicatedChange]] = TypeAdapter(list[ReplicatedChange])


def changes_of(values: Any, data_type: DataType) -> list[ReplicatedChange]:
    """The changes of one call, as a message has them.

    Raises:
        InvalidPayloadError: it is no list of them, or of what the type does not do.
    """
    if not isinstance(values, list) or not 0 < len(values) <= CHANGES_MAX:
        raise InvalidPayloadError(f"changes: a list of 1 to {CHANGES_MAX:,}.")
    found = read_as(_CHANGES, values, "changes")
    for one in found:
        if one.path and data_type != "map":
            raise InvalidPayloadError("changes: path: only maps have fields.")
        target = one.path[-1].partition(":")[0] if one.path else data_type
        if target not in _SERVES[one.act]:
            raise InvalidPayloadError(f"changes: a {target} is not changed by {one.act!r}.")
        if one.act == "remove":
            read_as(_FIELD, one.value, "remove")
    return found


_FIELD: TypeAdapter[str] = TypeAdapter(MapField)
_PATH: TypeAdapter[list[str]] = TypeAdapter(Annotated[list[MapField], Field(max_length=DEPTH_MAX)])


def path_of(value: object, data_type: DataType) -> list[str]:
    """The fields that lead to a part of a value.

    Raises:
        InvalidPayloadError: they are none, or the value has no fields.
    """
    path = read_as(_PATH, value, "path")
    if path and data_type != "map":
        raise InvalidPayloadError("path: only maps have fields.")
    return path


class ReplicatedInfo(Contract):
    """A replicated value in a list of them."""

    type: DataType
    name: str
    #: Of all journals, as far as they stand here one by one: compacted ones are one.
    changes: int
    #: Seconds since 1970.
    last_at: float


class ReplicatedState(Contract):
    """A replicated value, as one journal has it now."""

    name: str
    type: DataType
    value: Any = None
    #: Of each journal that has changed it, how many of its changes are in: journals whose versions
    #: are equal have the same value.
    version: dict[str, int] = Field(default_factory=dict)
    #: Values that were assigned to a register at once elsewhere; the last writer's is its value.
    conflicts: tuple[Any, ...] = ()


class ReplicatedEntry(Contract):
    """An entry as another journal gives it."""

    stream: Annotated[Name, Field(pattern=rf"^{REPLICATED}(counter|register|set|map)/.")]
    key: Annotated[Name, Field(pattern=r"^[0-9a-z]{12}/.")]
    data: dict[str, Any]


class ReplicatedPage(Contract):
    """A page of entries for another journal, in the order of all."""

    #: The journal that gives it, and whose values they are there; "": nobody's.
    replica: Annotated[str, Field(pattern=r"^[0-9a-z]{12}$")]
    tenant: Tenant
    entries: Annotated[list[ReplicatedEntry], Field(max_length=10_000)]
    #: Behind it the next page begins.
    position: Annotated[str, Field(pattern=POSITION)]
    #: Entries behind this page, counted up to 10,000.
    behind: int = 0
