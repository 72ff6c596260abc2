"""``agents.cache``: how cached answers stand, forgetting them, and asking beforehand."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.client.run import Run
from celery_agents.client.runs import Runs
from celery_agents.client.verbs import AskVerb
from celery_agents.contracts.base import name_of
from celery_agents.contracts.caching import CacheState, Warmed
from celery_agents.errors import InvalidPayloadError

#: The priority behind all others.
LAST = 9
#: Questions of a warming that are under way at once: above a worker's pace, far below a flood.
AT_ONCE = 50


class Cache:
    """Lists what is cached, forgets it, and fills it; a worker does it."""

    def __init__(self, control: Control, runs: Runs, ask: AskVerb) -> None:
        self._control = control
        self._runs = runs
        self._ask = ask

    def list(self, *, timeout: float = 10.0) -> builtins.list[CacheState]:
        """How the cached answers of each agent stand; those of tools as ``tool:NAME``."""
        found = self._control.ask(names.CACHES).get(timeout=timeout)
        return [CacheState.model_validate(state) for state in found]

    def clear(self, name: str | None = None, *, timeout: float = 60.0) -> int:
        """Forget the answers of an agent, of a tool as ``tool:NAME``, or all.

        Returns how many there were. No worker serves them for longer than a second from now on.
        """
        asked = self._control.ask(names.UNCACHE, None if name is None else name_of(name))
        return int(asked.get(timeout=timeout))

    def warm(
        self,
        questions: Iterable[Mapping[str, Any]],
        *,
        max_cost: float | None = None,
        timeout: float = 3600.0,
    ) -> Warmed:
        """Ask a list of questions behind all other work, so that their answers are cached.

        Args:
            questions: the arguments of ``ask`` for each: ``agent``, ``input``, options.
            max_cost: US dollars; above it nobody more is asked.
            timeout: seconds for 50 of them, which are asked together.

        Raises:
            InvalidPayloadError: a question is none; those before it may have been asked.
            ResultTimeoutError: not all ended in time; they go on.
        """
        told, left = Warmed(), iter(questions)
        while portion := [*islice(left, AT_ONCE)]:
            if max_cost is not None and (told.cost_usd or 0.0) >= max_cost:
                return told.model_copy(update={"left": len(portion) + sum(1 for _ in left)})
            runs = [self._asked(question) for question in portion]
            self._runs.collect(runs, timeout=timeout, return_exceptions=True)
            for run in runs:
                if (outcome := run.outcome()) is not None:
                    told = told.after(outcome)
        return told

    def _asked(self, question: Mapping[str, Any]) -> Run[Any]:
        options = {"priority": LAST, **question}
        try:
            agent, value = options.pop("agent"), options.pop("input", None)
        except KeyError:
            raise InvalidPayloadError("A question to be warmed names its agent.") from None
        return self._ask(agent, value, **options)
