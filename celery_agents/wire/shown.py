"""Arguments as people may see them in Flower and logs: short and redacted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery_agents.errors import redact
from celery_agents.redaction.cleaning import brief
from celery_agents.sealing import MARK, is_sealed

#: Characters of one argument that are shown.
SHOWN = 80
#: Characters of a whole text, such as a traceback.
TEXT = 20_000
#: What people see of an encrypted value.
HIDDEN, _SEALED = "(encrypted)", f"{MARK}: "
#: Types whose values hold no secret, and those of which parts may be one.
_SHOWN_AS_IS, _SEARCHED = frozenset({type(None), bool, float}), (dict, list, str)
#: How Celery ends a text that it cut, some brackets and quotes after it; and what is no word.
_CUT, _TAIL, _BETWEEN = "...", 12, " \t\n,;"


def shown_args(args: Iterable[Any]) -> str:
    """Positional arguments, each cut."""
    return f"({', '.join([_short(a) for a in args])})"


def shown_kwargs(kwargs: Mapping[str, Any]) -> str:
    """Keyword arguments, each cut, and hidden where their name says that they are secret."""
    return f"{{{', '.join(_short(v, f'{k}: ') for k, v in kwargs.items())}}}"


def shown_text(text: str) -> str:
    """A text that others wrote, and may have cut: redacted, without what a cut left of a word.

    Half of a key is not known as one.
    """
    if _CUT in text[-_TAIL:]:
        text = text[: text.rindex(_CUT)]
        text = text[: max(map(text.rfind, _BETWEEN)) + 1] + _CUT
    return redact(text, limit=TEXT)


def _short(value: Any, name: str = "") -> str:
    if name == _SEALED or is_sealed(value):
        return HIDDEN
    if type(value) in _SHOWN_AS_IS:
        return f"{name}{value!r}"
    if isinstance(value, _SEARCHED):
        value = brief(value, name.removesuffix(": "))
    return redact(f"{name}{value!r}", limit=len(name) + SHOWN)


def watched(eventer: Any) -> bool:
    """Return whether a worker tells others of its tasks, by this dispatcher of its events.

    One without ``-E`` has a dispatcher too, which tells of the worker alone.
    """
    if eventer is None or not eventer.enabled:
        return False
    groups = getattr(eventer, "groups", None)
    return not groups or "task" in groups
