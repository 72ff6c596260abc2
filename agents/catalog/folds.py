"""The functions that are given the entries of streams: projections and reducers by their names."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from celery_agents.errors import ConfigurationError, InvalidPayloadError
from celery_agents.fold import ProjectionMark, ReducerMark, projection_mark_of, reducer_mark_of


class Projected(NamedTuple):
    """A projection and its function."""

    mark: ProjectionMark
    function: Callable[..., Any]


class Reduced(NamedTuple):
    """A reducer and its function."""

    mark: ReducerMark
    function: Callable[..., Any]


class Folds:
    """Projections and reducers. A name that is given twice is an error, not a surprise."""

    def __init__(self) -> None:
        self.projections: dict[tuple[str, str], Projected] = {}
        self._reducers: dict[str, Reduced] = {}

    def add_module(self, module: ModuleType) -> None:
        """Add the functions of a module that are marked.

        Raises:
            ConfigurationError: two of them have the same name.
        """
        for value in list(vars(module).values()):
            if (told := projection_mark_of(value)) is not None:
                one = Projected(told, value)
                known = self.projections.setdefault((told.tenant, told.name), one)
                _refuse_another("projections", told.name, known.function, value)
            if (mark := reducer_mark_of(value)) is not None:
                reduced = self._reducers.setdefault(mark.name, Reduced(mark, value))
                _refuse_another("reducers", mark.name, reduced.function, value)

    def reducer(self, name: str) -> Reduced:
        """The reducer of that name.

        Raises:
            InvalidPayloadError: naming what there is.
        """
        if (found := self._reducers.get(name)) is None:
            known = ", ".join(sorted(self._reducers)) or "none"
            raise InvalidPayloadError(
                f"There is no reducer {name!r} in this worker. It has: {known}. "
                "Reducers come from AGENTS_MODULES and entry points."
            )
        return found


def _refuse_another(what: str, name: str, known: object, value: object) -> None:
    if known is not value:
        raise ConfigurationError(f"Two {what} are named {name!r}.")
