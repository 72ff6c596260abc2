"""Subscriptions: who is served with the entries of which streams; and how long those are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, TypeAdapter, ValidationError

from celery_agents.contracts.base import Contract, mistakes, read_as
from celery_agents.contracts.flows.entries import OWN
from celery_agents.errors import InvalidPayloadError
from celery_agents.visible import CONTROLS

_VISIBLE = rf"^[^{CONTROLS}]*$"
#: Streams that belong together: a name, or the beginning of names and a star.
_OF: TypeAdapter[str] = TypeAdapter(
    Annotated[str, Field(min_length=1, max_length=181, pattern=_VISIBLE, strict=True)]
)
_STAR = "*"
Kind = Annotated[str, Field(min_length=1, max_length=40, pattern=_VISIBLE, strict=True)]
_KIND: TypeAdapter[str | None] = TypeAdapter(Kind | None)
#: The kind of the entry that tells a follower how many were trimmed before it came to them. It
#: stands in no stream, so its place is -1.
GAP = "gap"
#: A part of an event in the template of a key: ``{data[id]}``, ``{stream}``.
_FIELD = re.compile(r"\{(stream|seq|kind|key|data)((?:\[[^\[\]{}]+\])*)\}")
_INDEX = re.compile(r"\[([^\[\]]+)\]")
#: The priority of what comes last; 0 is first.
_LAST_PRIORITY = 9
#: Characters of a key.
_KEY_MAX = 200


def kind_of(kind: object = None) -> str | None:
    """The kind of entries that are wanted; None: of each.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_KIND, kind, "kind")


class StreamSet(NamedTuple):
    """Streams that belong together: the one of a name, or all whose names begin so."""

    name: str
    is_prefix: bool

    @classmethod
    def of(cls, value: object) -> Self:
        """Read them as a user writes them: ``order/7``, ``order/*``, ``*``.

        Raises:
            InvalidPayloadError: it is none, or those are the service's own.
        """
        told = read_as(_OF, value, "of")
        name, is_prefix = told.removesuffix(_STAR), told.endswith(_STAR)
        if _STAR in name:
            raise InvalidPayloadError(f"of: a star stands at the end alone, not as in {told!r}.")
        if name.startswith(OWN):
            raise InvalidPayloadError(f"of: {told} are the service's own; choose other streams.")
        return cls(name, is_prefix)

    @classmethod
    def known(cls, text: str) -> Self:
        """They as a row has them, whoever wrote it: a follower may read the service's own, too."""
        return cls(text.removesuffix(_STAR), text.endswith(_STAR))

    @property
    def text(self) -> str:
        """They as a user writes them."""
        return f"{self.name}{_STAR}" if self.is_prefix else self.name

    def __contains__(self, stream: object) -> bool:
        if not isinstance(stream, str) or stream.startswith(OWN):
            return False
        return stream.startswith(self.name) if self.is_prefix else stream == self.name


class SubscriptionRule(Contract):
    """How the entries of streams are served."""

    #: Entries of the same key start one run. A template: ``{data[id]}``, ``{stream}/{kind}``.
    key: Annotated[str, Field(min_length=1, max_length=_KEY_MAX, pattern=_VISIBLE)] | None = None
    #: The part of an event that is the run's input, as ``{data[body]}``; without it, all of it.
    take: Annotated[str, Field(min_length=1, max_length=_KEY_MAX, pattern=_VISIBLE)] | None = None
    #: The part that is the run's priority, 0 (first) to 9; without it, that of what is started.
    priority: Annotated[str, Field(max_length=_KEY_MAX, pattern=_VISIBLE)] | None = None
    #: An entry that has failed so often is poison: a dead letter.
    failures_max: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 5
    #: Poison is passed over (``skip``), or nothing more is served until it is resumed (``stop``).
    poison: Literal["skip", "stop"] = "skip"
    #: Where a new subscription begins: with what comes now, or with the first entry there is.
    since: Literal["now", "start"] = "now"

    @classmethod
    def read(cls, value: Any) -> Self:
        """A rule as a message has it.

        Raises:
            InvalidPayloadError: it is none.
        """
        try:
            rule = cls.model_validate(value)
        except ValidationError as error:
            place, why = mistakes(error, cls)[0]
            raise InvalidPayloadError(f"subscription: {place}: {why}") from None
        if rule.key is not None and (
            not _FIELD.search(rule.key) or set("{}") & set(_FIELD.sub("", rule.key))
        ):
            told = "subscription: key: it names parts of an event, as {data[id]} or {stream} do."
            raise InvalidPayloadError(told)
        for name, part in (("take", rule.take), ("priority", rule.priority)):
            if part is not None and not _FIELD.fullmatch(part):
                told = f"subscription: {name}: it names a part of an event, as {{data[body]}} does."
                raise InvalidPayloadError(told)
        return rule

    def input_of(self, event: Mapping[str, Any]) -> Any:
        """The input of the run that an event starts. Raises as :meth:`key_of`."""
        found = None if self.take is None else _FIELD.fullmatch(self.take)
        return event if found is None else _value(event, found, "take")

    def priority_of(self, event: Mapping[str, Any], usual: int) -> int:
        """The priority of the run that an event starts. Raises as :meth:`key_of`."""
        found = None if self.priority is None else _FIELD.fullmatch(self.priority)
        if found is None:
            return usual
        value = _value(event, found, "priority")
        if type(value) is not int or not 0 <= value <= _LAST_PRIORITY:
            raise InvalidPayloadError(f"subscription: priority: {found[0]} is none from 0 to 9.")
        return value

    def key_of(self, event: Mapping[str, Any]) -> str | None:
        """The key of an event.

        Raises:
            InvalidPayloadError: the event has not what the template names.
        """
        if self.key is None:
            return None
        found = _FIELD.sub(lambda field: _part(event, field), self.key)
        try:
            found.encode()
        except UnicodeEncodeError:
            raise InvalidPayloadError("subscription: the key of an event is no text.") from None
        if len(found) > _KEY_MAX:
            raise InvalidPayloadError(f"subscription: the key of an event is above {_KEY_MAX}.")
        return found


def _value(event: Mapping[str, Any], field: re.Match[str], what: str) -> Any:
    value: Any = event[field[1]]
    for index in _INDEX.findall(field[2]):
        try:
            value = value[int(index)] if isinstance(value, list) else value[index]
        except (LookupError, TypeError, ValueError):
            told = f"subscription: {what}: the event has no {field[0]}."
            raise InvalidPayloadError(told) from None
    return value


def _part(event: Mapping[str, Any], field: re.Match[str]) -> str:
    value = _value(event, field, "key")
    if value is None or isinstance(value, dict | list):
        raise InvalidPayloadError(
            f"subscription: key: {field[0]} of the event is no text or number."
        )
    return str(value)


class SubscriptionInfo(Contract):
    """How a subscription stands."""

    name: str
    tenant: str = ""
    #: The streams whose entries it gets, and of which kind; None: of each.
    of: str
    kind: str | None = None
    #: ``runs``: each entry starts one; ``projection``: a worker's function is given each;
    #: ``unknown``: a newer version has made it, and what it does cannot be told here.
    serves: Literal["runs", "projection", "unknown"]
    #: What is started: a task, and the agent or flow; of a projection its version.
    task: str | None = None
    what: str | None = None
    version: int | None = None
    rule: SubscriptionRule = Field(default_factory=SubscriptionRule)
    paused: bool = False
    #: Entries that it was served, passed over as poison, and that were trimmed before.
    served: int = 0
    passed: int = 0
    lost: int = 0
    #: Entries that it is behind (at most 10,000 are counted), and how old the first of them is.
    behind: int = 0
    lag_s: float = 0.0
    #: How often the next one has failed, and why.
    failures: int = 0
    error: str | None = None

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """How one stands, as a worker tells it: of a newer version's as much as can be read."""
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            wrong = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
        left = {name: value for name, value in told.items() if name not in wrong}
        why = f"A newer version has made it: {', '.join(sorted(wrong))} cannot be read here."
        told = {"of": "", **left, "name": str(told.get("name")), "serves": "unknown"}
        return cls.model_validate({**told, "error": told.get("error") or why})


class StreamLimits(Contract):
    """How long the entries of streams are kept, and how much of them."""

    keep_s: Annotated[float, Field(gt=0, le=100 * 366 * 86_400.0, strict=True)] | None = None
    keep_bytes: Annotated[int, Field(gt=0, le=2**60, strict=True)] | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        """The same as a message has it.

        Raises:
            InvalidPayloadError: it is none, or says nothing.
        """
        try:
            limits = cls.model_validate(value)
        except ValidationError as error:
            place, why = mistakes(error, cls)[0]
            raise InvalidPayloadError(f"keep: {place}: {why}") from None
        if limits.keep_s is None and limits.keep_bytes is None:
            raise InvalidPayloadError("keep: seconds or bytes, or both, are needed.")
        return limits


class StreamLimitsInfo(Contract):
    """Streams whose entries are trimmed."""

    of: str
    tenant: str = ""
    limits: StreamLimits
    #: Entries that were trimmed.
    trimmed: int = 0


class StreamState(Contract):
    """The state that a reducer made of a stream."""

    stream: str
    reducer: str
    version: int
    state: Any = None
    #: The place of the last entry that is in it; -1: there is none.
    seq: int = -1
