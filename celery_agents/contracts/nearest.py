"""The nearest right spelling of a wrong name of a field, or of one of its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

_QUOTED = re.compile(r"'([^']*)'")
#: Where a pydantic error that names the words which would do has them.
_WORDS = {"literal_error": "expected", "union_tag_invalid": "expected_tags", "enum": "expected"}


def meant(wrong: str, right: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """``; did you mean …?`` with the nearest of some words, or nothing."""
    near = get_close_matches(wrong, sorted(right), n=1)
    return f"; did you mean {shown(near[0])}?" if near else ""


def hint(model: type[BaseModel] | None, error: Mapping[str, Any], names: Iterable[str] = ()) -> str:
    """``; did you mean …?`` for an error of pydantic, or nothing. It never shows what was given.

    Args:
        model: what was validated.
        error: one of its errors, with its context and input.
        names: what may stand beside the model's own fields.
    """
    if error["type"] == "extra_forbidden":
        *path, wrong = error["loc"]
        right = fields_at(model, path) | ({*names} if not path else set())
        return meant(str(wrong), right)
    if (told := _WORDS.get(error["type"])) is not None:
        right_words = _QUOTED.findall(error["ctx"][told])
        wrong_word = error["ctx"].get("tag", error["input"])
        return meant(str(wrong_word), right_words)
    return ""


def fields_at(model: type[BaseModel] | None, path: Iterable[int | str]) -> set[str]:
    """The fields that a payload may have at a place: of all models that may stand there."""
    models = set() if model is None else {model}
    for part in path:
        inner = {m for one in models if part in one.model_fields for m in _inner(one, part)}
        tagged = {one for one in models if _kind(one) == part}
        models = inner or tagged or models  # a place in a list is no name
    return {name for one in models for name in one.model_fields}


def _inner(model: type[BaseModel], field: int | str) -> Iterator[type[BaseModel]]:
    yield from _models(model.model_fields[str(field)].annotation)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _kind(model: type[BaseModel]) -> Any:
    kind = model.model_fields.get("kind")
    return None if kind is None else kind.default
