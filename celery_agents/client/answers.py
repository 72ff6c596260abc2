"""Answers of a type: its JSON Schema for the agent, its instances for whoever asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from celery_agents.contracts.base import mistakes
from celery_agents.errors import BadAnswerError, InvalidPayloadError
from celery_agents.wire.messages import to_json

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


class AnswerType(Generic[T]):
    """A pydantic model, a union of some, or any other type that pydantic reads, for an answer.

    Raises:
        InvalidPayloadError: pydantic cannot read it, or it has no JSON Schema.
    """

    def __init__(self, kind: TypeForm[T]) -> None:
        self._name = _named(kind)
        try:
            self._adapter = TypeAdapter(kind)
            self.schema: dict[str, Any] = self._adapter.json_schema()
        except (PydanticUserError, SchemaError, TypeError) as error:
            why = str(error).split("\n", 1)[0]
            raise InvalidPayloadError(f"answer: it is no type for an answer: {why}") from None

    def read(self, value: Any) -> T:
        """The instance that an answer stands for.

        Raises:
            BadAnswerError: it stands for none; places and reasons are told, not the value.
        """
        try:
            return self._adapter.validate_json(to_json(value))
        except ValidationError as error:
            told = "; ".join(f"{place}: {why}" for place, why in mistakes(error)[:5])
            raise BadAnswerError(f"The answer is no {self._name}: {told}") from None


def _named(kind: Any) -> str:
    """The name of a type without its modules: ``Invoice | Refusal``, ``list[Item]``."""
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    return _MODULES.sub("", str(kind))


_MODULES = re.compile(r"(?:\w+\.|<locals>\.)+")

_made: Callable[[Any], AnswerType[Any]] = lru_cache(maxsize=256)(AnswerType)


def answer_type(kind: TypeForm[T]) -> AnswerType[T]:
    """The same as :class:`AnswerType`, made once for each type."""
    try:
        hash(kind)
    except TypeError:  # a JSON Schema, for one, which is no type
        return AnswerType(kind)
    return _made(kind)


def typed(options: dict[str, Any]) -> AnswerType[Any] | None:
    """The type among the options of an ``ask``, whose place its schema takes.

    Raises:
        InvalidPayloadError: it is none, or a schema is given as well.
    """
    if isinstance(options.get("answer_schema"), type):
        raise InvalidPayloadError("answer_schema: it is a JSON Schema; give a type as answer=.")
    if (kind := options.pop("answer", None)) is None:
        return None
    if options.get("answer_schema") is not None:
        raise InvalidPayloadError("answer: its schema is the answer_schema; give one of them.")
    found = answer_type(kind)
    options["answer_schema"] = found.schema
    return found
