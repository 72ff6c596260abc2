"""Marking a class as an actor."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from celery_agents.contracts.base import Contract, Name, wrong_option
from celery_agents.errors import ConfigurationError

C = TypeVar("C", bound=type)

_MARK = "__celery_actor__"


class ActorMark(Contract):
    """A class's own description as an actor."""

    name: Name


@overload
def actor(kind: C) -> C: ...
@overload
def actor(*, name: str | None = None) -> Callable[[C], C]: ...
def actor(kind: C | None = None, *, name: str | None = None) -> C | Callable[[C], C]:
    """Offer a class as an actor, under its own name or ``name``.

    Of each key there is one at a time, wherever its workers are. Its attributes are its state,
    which lasts; its public async methods, of ``(self, me, …)``, take messages, one after the other.
    A method is run as a flow is: it asks agents and other actors for all that touches the world.

    >>> @actor
    ... class Counter:
    ...     count: int = 0
    ...     async def add(self, me, more):
    ...         self.count += more
    ...         return self.count

    Raises:
        ConfigurationError: it is no class, its instances cannot be made, or it has no method.
    """

    def mark(kind: C) -> C:
        if not inspect.isclass(kind):
            raise ConfigurationError("@actor: it is for classes.")
        try:
            found = ActorMark(name=name or kind.__name__)
        except ValidationError as error:
            raise wrong_option("@actor", error, ActorMark) from None
        if not methods_of(kind):
            raise ConfigurationError(f"@actor: {found.name} has no public async method.")
        try:
            vars(new_instance(kind))
        except TypeError as error:
            told = f"@actor: {found.name}() has to make one, with attributes: {error}"
            raise ConfigurationError(told) from None
        setattr(kind, _MARK, found)
        return kind

    return mark if kind is None else mark(kind)


def actor_mark_of(value: object) -> ActorMark | None:
    """The mark of a class, if it was marked itself."""
    found = vars(value).get(_MARK) if inspect.isclass(value) else None
    return found if isinstance(found, ActorMark) else None


def methods_of(kind: type) -> Mapping[str, Callable[..., Any]]:
    """The methods of an actor that take messages: public, async, and of its class."""
    known = _known_methods(kind)  # it is asked for each message
    if all(getattr(kind, name, None) == method for name, method in known.items()):
        return known
    return _methods_of(kind)  # a test has put another one in the place of one of them


def _methods_of(kind: type) -> Mapping[str, Callable[..., Any]]:
    found = inspect.getmembers(kind, inspect.iscoroutinefunction)
    return MappingProxyType({name: told for name, told in found if not name.startswith("_")})


_known_methods = lru_cache(maxsize=256)(_methods_of)


def new_instance(kind: type) -> Any:
    """An instance with the state that a new actor has: none shares a list with its class."""
    made = kind()
    for base in reversed(kind.__mro__):
        for name in vars(base).get("__annotations__", {}):
            if name not in vars(made) and hasattr(kind, name):
                setattr(made, name, copy.deepcopy(getattr(kind, name)))
    return made
