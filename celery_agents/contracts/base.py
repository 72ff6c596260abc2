"""The base of all contracts: strict, immutable pydantic models of JSON values."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.nearest import hint
from celery_agents.errors import ConfigurationError, InvalidPayloadError
from celery_agents.values import JsonObject, JsonValue, TrustedJson
from celery_agents.visible import CONTROLS

#: No database takes a zero byte in a text of its own (in JSON it does), and nobody wants one in a
#: name. Halves of surrogate pairs are refused by pydantic itself.
_WHOLE = r"^[^\u0000]*$"
#: Names and ids stand in lines of logs and tables: they hold no line ends and no escapes.
_VISIBLE = rf"^[^{CONTROLS}]*$"
#: A name for an agent, voter or candidate as users write it. The journal's columns have 200; what
#: patterns append, as in "gpt#2@round1", finds room there.
Name = Annotated[str, Field(min_length=1, max_length=180, pattern=_VISIBLE, strict=True)]
#: A name that may be a part of a path, with something behind it.
PartName = Annotated[
    str, Field(min_length=1, max_length=180, pattern=rf"^[^{CONTROLS}/]*$", strict=True)
]
#: One of the options that an answer may be.
Option = Annotated[str, Field(min_length=1, max_length=200, pattern=_WHOLE, strict=True)]
#: The id of a run, a step or a task: as long as Celery's own result tables take.
Id = Annotated[
    str,
    Field(min_length=1, max_length=155, pattern=_VISIBLE, strict=True),
    BeforeValidator(lambda value: str(value) if isinstance(value, uuid.UUID) else value),
]
#: Who of those that share a service asks; "" is nobody in particular.
Tenant = Annotated[str, Field(max_length=64, pattern=_VISIBLE, strict=True)]
#: Seconds, positive.
Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600, strict=True)]


def http_url(url: str) -> str:
    """The URL, checked where it comes in; errors quote nothing of it.

    Raises:
        ValueError: it is none, or holds credentials.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port, or the brackets of an IPv6 address
        known = False
    if not known or not url.isprintable() or " " in url:
        message = "must be an absolute http:// or https:// URL"
        raise ValueError(message)
    if "@" in parts.netloc:
        message = "must not hold a user or password; name a secret instead"
        raise ValueError(message)
    if "#" in url:
        message = "must not have a fragment (#): it is sent to nobody"
        raise ValueError(message)
    return url


#: An http or https URL without credentials in it.
HttpUrl = Annotated[str, Field(max_length=2000), AfterValidator(http_url)]
#: The name (never the value) of a secret in the worker's environment.
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


def _whole(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise ValueError("Input should be a valid integer")  # noqa: TRY004 - pydantic's way
    return value


#: After the bounds of an integer: texts and booleans are none, as JSON Schema has it.
Whole = BeforeValidator(_whole)

#: Above what anybody means.
VERSION_MAX = 1_000_000
#: Of the code of a flow, a projection or a reducer.
Version = Annotated[int, Field(ge=1, le=VERSION_MAX), Whole]

__all__ = [
    "VERSION_MAX",
    "Contract",
    "HttpUrl",
    "Id",
    "JsonObject",
    "JsonValue",
    "Name",
    "Option",
    "Seconds",
    "SecretName",
    "TrustedJson",
    "Version",
    "Whole",
    "also",
    "http_url",
    "id_of",
    "mistakes",
    "name_of",
    "period_of",
    "read_as",
    "whole_of",
    "why",
    "wrong_option",
]

T = TypeVar("T")
C = TypeVar("C", bound="Contract")
_ID: TypeAdapter[str] = TypeAdapter(Id)
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)
_SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)


def id_of(value: object, what: str = "id") -> str:
    """An id as it is written; that of a UUID is its text.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_ID, value, what)


def tenant_of(value: object) -> str:
    """The name of a tenant.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_TENANT, value, "tenant")


def name_of(value: object, what: str = "name") -> str:
    """A name as users write it.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_NAME, value, what)


#: The greatest place of an entry, or of a member: as the journal's columns for them.
PLACES_MAX = 2**31 - 1


def whole_of(value: object, what: str, *, least: int, most: int) -> int:
    """An integer within its bounds.

    Raises:
        InvalidPayloadError: it is none.
    """
    if type(value) is not int or not least <= value <= most:
        raise InvalidPayloadError(f"{what}: it is a whole number from {least} to {most:,}.")
    return value


def period_of(value: object, what: str) -> float | None:
    """Seconds, or None.

    Raises:
        InvalidPayloadError: it is neither.
    """
    return None if value is None else read_as(_SECONDS, value, what)


def read_as(kind: TypeAdapter[T], value: object, what: str) -> T:
    """Read a value that is not a field of a payload.

    Raises:
        InvalidPayloadError: it is none of that kind.
    """
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise InvalidPayloadError(f"{what}: {mistakes(error)[0][1]}") from None


def read_contract(form: type[C], value: object, what: str) -> C:
    """Read a part of a message that has a form of its own.

    Raises:
        InvalidPayloadError: it has another one; it names the field.
    """
    try:
        return form.model_validate(value)
    except ValidationError as error:
        place, why = mistakes(error, form)[0]
        raise InvalidPayloadError(f"{what}: {place}: {why}") from None


_IN_OUR_WORDS = {
    "string_unicode": "Half of a surrogate pair is in it",
    "tuple_type": "Input should be a valid list",
    "frozen_set_type": "Input should be a valid list",
}
_CONTROLLED = {_WHOLE, _VISIBLE}


def why(error: Mapping[str, Any]) -> str:
    """The reason of an error of pydantic, without the value, which its own words may repeat."""
    if error["type"] == "union_tag_invalid":
        return f"Input should be {error['ctx']['expected_tags']}"
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] in _CONTROLLED:
        return "A zero byte, a line end or another control character is in it"
    told: str = error["msg"]
    return _IN_OUR_WORDS.get(error["type"], told)


def mistakes(
    error: ValidationError, model: type[BaseModel] | None = None, *, names: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """List where and why, never the value: it may hold what must not be shown.

    Of a misspelt field of ``model``, or word of one, the nearest right one is told; ``names`` are
    options that may stand beside its fields.
    """
    return [
        (
            ".".join(map(str, e["loc"])) or "payload",
            why(e) + hint(model, e, names),
        )
        for e in error.errors(include_url=False)
    ]


def wrong_option(
    decorator: str, error: ValidationError, model: type[BaseModel], *, names: Iterable[str] = ()
) -> ConfigurationError:
    """The error of a decorator that got an option which ``model`` does not take."""
    place, why = mistakes(error, model, names=names)[0]
    where = "" if place == "payload" else f"{place}: "
    return ConfigurationError(f"{decorator}: {where}{why}")


class Contract(BaseModel):
    """A value that travels in a payload. Unknown fields are refused, so typos are seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def compact(self) -> dict[str, Any]:
        """JSON without what is at its default; reading it again gives an equal value."""
        return self.model_dump(mode="json", exclude_defaults=True)


def also(core: CoreSchema, handler: GetJsonSchemaHandler, *forms: Any) -> JsonSchemaValue:
    """A contract's JSON schema where values of these types will do in place of an object."""
    schema = handler(core)
    if handler.mode == "validation":
        found = handler.resolve_ref_schema(schema)
        whole = dict(found)
        found.clear()
        found["anyOf"] = [*(TypeAdapter(form).json_schema() for form in forms), whole]
    return schema
