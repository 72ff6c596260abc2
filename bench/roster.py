"""The contestants, ours first."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contestant import Contestant
from bench.contestants import celery, dbos, dramatiq, langgraph, ours, saq, taskiq

ALL: Sequence[Contestant] = tuple(
    one
    for package in (ours, celery, dramatiq, taskiq, saq, dbos, langgraph)
    for one in package.CONTESTANTS
)


def chosen(names: Sequence[str]) -> list[Contestant]:
    """Those of these names, or of whose name one of these is the beginning.

    Raises:
        ValueError: a name is nobody's.
    """
    found = [c for c in ALL if any(_means(name, c.name) for name in names)]
    for name in names:
        if not any(_means(name, c.name) for c in found):
            known = ", ".join(c.name for c in ALL)
            raise ValueError(f"There is no contestant {name!r}. There are: {known}")
    return found


def _means(given: str, name: str) -> bool:
    return name == given or name.startswith(f"{given}-")
