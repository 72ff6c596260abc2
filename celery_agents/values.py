"""Values of inputs and answers: one table for the client, the workers and every agent.

| value | |
|---|---|
| null, booleans, texts, finite numbers, lists, objects | as they are, in texts also zero bytes and halves of surrogate pairs |
| integers of more than 4,300 digits, NaN, infinities | refused: JSON has none, or Python does not read them |
| more than 100 levels of lists and objects | refused, with room for what patterns put around a value |
| object keys that are no texts, or hold half of a surrogate pair | refused |
| an object of just ``__type__`` and ``__value__`` | refused: Celery's JSON reads a value of another type in it |
| tuples, dates, UUIDs, decimals, bytes, … | refused; what an agent's own code answers is made JSON first |
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PlainValidator, SkipValidation, ValidationInfo
from pydantic_core import PydanticCustomError, to_jsonable_python
from typing_extensions import TypeAliasType

#: Levels of lists and objects in one value.
DEPTH = 100
#: Digits of an integer: what Python reads, unless it is told otherwise.
DIGITS = 4_300
#: The keys of kombu's own notation for dates, UUIDs and other types.
TAG = frozenset({"__type__", "__value__"})
_LARGEST = 10**DIGITS
_SMALLEST = -_LARGEST
_NUMBERS = frozenset({int, float})
_SIMPLE = frozenset({str, bool, type(None)})
_HALVELESS = frozenset({int, float, bool, type(None)})


class NotJson:
    """Something that Celery's JSON can hold and a value cannot; written again as it came."""

    def __init__(self, what: str, written: Any) -> None:
        self.what = what
        self._written = written

    def __repr__(self) -> str:
        return f"<{self.what}>"

    def __json__(self) -> Any:
        return self._written


def problem(value: Any, *, depth: int = DEPTH) -> str | None:
    """Where and why it is no value of the table, without the value itself; None: it is one."""
    if _is_plain(value, depth):
        return None
    return next(_problems(value, "", depth), None)


def has_halves(text: str) -> bool:
    """Return whether halves of surrogate pairs are in it, which no UTF-8 can hold."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def mended(value: Any) -> Any:
    """The same with halves that belong together as one character, and U+FFFD for the others.

    Lists and objects are new ones, which nobody else changes.
    """
    if isinstance(value, str):
        if not has_halves(value):
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    # Most parts are numbers and texts of ASCII: these take no call each.
    if isinstance(value, list):
        return [
            item
            if (kind := type(item)) in _HALVELESS or (kind is str and item.isascii())
            else mended(item)
            for item in value
        ]
    if isinstance(value, dict):
        return {
            key if type(key) is str and key.isascii() else mended(key): item
            if (kind := type(item)) in _HALVELESS or (kind is str and item.isascii())
            else mended(item)
            for key, item in value.items()
        }
    return value


def storable(text: str) -> str:
    """Text that any store takes: U+FFFD for zero bytes, and for halves of surrogate pairs."""
    whole: str = mended(text)
    return whole.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in whole else whole


def jsonable(value: Any) -> Any:
    """Any object as a value of the table: what has no JSON form is told in words, for people."""
    plain = _converted(value)
    return plain if problem(plain) is None else _tame(plain, DEPTH)


def _converted(value: Any) -> Any:
    try:
        return to_jsonable_python(value, fallback=_shown)
    except ValueError:  # keys with halves, or an object that holds itself
        pass
    try:
        return to_jsonable_python(mended(value), fallback=_shown)
    except (ValueError, RecursionError):
        return _shown(value)


def _tame(value: Any, depth: int) -> Any:
    if depth == 0 and isinstance(value, list | dict):
        return _shown(value)
    if type(value) is list:
        return [_tame(item, depth - 1) for item in value]
    if type(value) is dict and value.keys() != TAG:
        return {mended(key): _tame(item, depth - 1) for key, item in value.items()}
    return value if problem(value) is None else _shown(value)


def _shown(value: Any) -> str:
    try:
        return str(mended(repr(value)[:200]))
    except Exception:  # noqa: BLE001 - of somebody's own __repr__, or an integer without end
        return f"<{type(value).__name__}>"


# A quick look first, by exact types; what it does not know is looked at closely.


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in _SIMPLE:
        return True
    if kind is list:
        return depth > 0 and _are_plain(value, depth - 1)
    if kind is dict:
        return depth > 0 and _is_object(value, depth - 1)
    return kind in _NUMBERS and _number_problem(value) is None


def _are_plain(items: Iterable[Any], depth: int) -> bool:
    for item in items:  # noqa: SIM110 - a generator for all() takes longer
        if type(item) not in _SIMPLE and not _is_plain(item, depth):
            return False
    return True


def _is_object(value: dict[Any, Any], depth: int) -> bool:
    for key in value:
        if type(key) is not str or not (key.isascii() or not has_halves(key)):
            return False
    tagged = len(value) == len(TAG) and value.keys() == TAG
    return not tagged and _are_plain(value.values(), depth)


def _number_problem(value: float) -> str | None:
    if isinstance(value, int):
        return (
            None if _SMALLEST < value < _LARGEST else f"an integer of more than {DIGITS:,} digits"
        )
    if value - value == 0.0:
        return None
    return f"{'NaN' if value != value else 'an infinity'} is no JSON value"  # noqa: PLR0124


def _problems(value: Any, place: str, depth: int) -> Iterator[str]:
    """List what is wrong with it, by instances: heirs of the plain types are written as those."""
    at = f"{place}: " if place else ""
    match value:
        case None | bool() | str():
            return
        case int() | float():
            if wrong := _number_problem(value):
                yield f"{at}{wrong}"
        case list() | dict() if depth == 0:
            yield f"more than {DEPTH} levels of lists and objects"
        case list():
            for number, item in enumerate(value):
                yield from _problems(item, f"{place}[{number}]", depth - 1)
        case dict():
            yield from (f"{at}{wrong}" for wrong in _key_problems(value))
            for key, item in value.items():
                yield from _problems(item, f"{place}.{key!s:.40}".lstrip("."), depth - 1)
        case _:
            what = value.what if isinstance(value, NotJson) else type(value).__name__
            yield f"{at}{what} is no JSON value"


def _key_problems(value: dict[Any, Any]) -> Iterator[str]:
    for key in value:
        if not isinstance(key, str):
            yield f"a key of an object has to be a text, not {type(key).__name__}"
        elif has_halves(key):
            yield "a key with half of a surrogate pair"
    if value.keys() == TAG:
        yield "an object of just __type__ and __value__ means another type in Celery's JSON"


#: Validation context for what was a value of the table when it came in: it is not looked at again,
#: and patterns may have put something around it.
KNOWN: Mapping[str, Any] = {"known": True}


def _checked(value: Any, info: ValidationInfo) -> Any:
    if info.context is not KNOWN and not _is_plain(value, DEPTH) and (wrong := problem(value)):
        raise PydanticCustomError("json_value", "{wrong}", {"wrong": wrong})
    return value


def _object(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, dict):
        raise PydanticCustomError("json_object", "Input should be an object")
    return _checked(value, info)


if TYPE_CHECKING:
    from pydantic import JsonValue as JsonValue  # noqa: PLC0414 - to be imported from here

    JsonObject = dict[str, JsonValue]
    TrustedJson = JsonValue
else:
    _NOT_TAGGED = Field(
        json_schema_extra={"not": {"required": sorted(TAG), "maxProperties": len(TAG)}}
    )
    _Form = TypeAliasType(
        "JsonValue",
        bool | float | str | list["_Form"] | Annotated[dict[str, "_Form"], _NOT_TAGGED] | None,
    )
    #: A value of the table, checked.
    JsonValue = Annotated[Any, PlainValidator(_checked, json_schema_input_type=_Form)]
    #: An object of the table, checked.
    JsonObject = Annotated[
        dict,
        PlainValidator(_object, json_schema_input_type=Annotated[dict[str, _Form], _NOT_TAGGED]),
    ]
    #: A value that was checked where it came in.
    TrustedJson = SkipValidation[JsonValue]
