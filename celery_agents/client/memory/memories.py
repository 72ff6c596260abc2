"""``agents.memory``: what agents keep for later runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import Id, name_of, tenant_of
from celery_agents.contracts.memory import (
    RECALL_TOKENS,
    MemoryRecord,
    NewMemories,
    memory_text_of,
    scope_of,
)

GivenScope = Mapping[str, str] | None
#: What a message tells a worker.
_Told = tuple[Any, ...]


class Memories:
    """Searches memories, reads them whole, adds to them and erases; a worker does it.

    Each is named as in the workers' configuration, and a ``scope`` fills the places of its space.
    Spaces belong to a tenant; without one, to nobody in particular.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def search(
        self,
        name: str,
        question: str,
        *,
        scope: GivenScope = None,
        tokens: int = RECALL_TOKENS,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> list[MemoryRecord]:
        """Memories that fit a question, the best first, within so many tokens.

        Raises:
            InvalidPayloadError: there is no such memory, or the scope lacks a value.
        """
        about: _Told = (name_of(name), memory_text_of(question, "question"), scope_of(scope))
        options: dict[str, Any] = {"tokens": tokens, "tenant": tenant_of(tenant)}
        asked = self._control.ask(names.RECALL, *about, options=options)
        found: list[dict[str, Any]] = asked.get(timeout=timeout)
        asked.forget()
        return [MemoryRecord.model_validate(memory) for memory in found]

    def remember(
        self,
        name: str,
        *texts: str,
        scope: GivenScope = None,
        importance: float = 1.0,
        replaces: str | None = None,
        thread: str = "",
        tenant: str = "",
        timeout: float = 10.0,
    ) -> list[str]:
        """Keep texts, all of them or none; returns their ids.

        Those of one ``thread`` are turns of a conversation, in their order: where one is found, its
        neighbours are more likely to be. The first one takes the place of what it ``replaces``.

        Raises:
            InvalidPayloadError: as above, or a text is empty or too long.
            PayloadTooLargeError: the space has no room for one of them.
        """
        about = {"importance": importance, "replaces": replaces, "thread": thread}
        new = NewMemories.read({"name": name, "texts": texts, **about})
        told: _Told = (new.compact(), scope_of(scope), tenant_of(tenant))
        ids: list[str] = self._control.ask(names.REMEMBER, *told, recorded=True).get(timeout)
        return ids

    def export(
        self,
        name: str,
        *,
        scope: GivenScope = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> Iterator[MemoryRecord]:
        """All memories of a space in their order, those that are over too, read page by page.

        ``timeout`` is for each page. Raises as :meth:`search`.
        """
        place: int | None = -1
        while place is not None:
            about: _Told = (name_of(name), scope_of(scope), place, tenant_of(tenant))
            asked = self._control.ask(names.MEMORIES, *about)
            page: dict[str, Any] = asked.get(timeout=timeout)
            asked.forget()
            yield from map(MemoryRecord.model_validate, page["memories"])
            place = page["more"]

    def forget(
        self,
        name: str,
        ids: Sequence[Id] | None = None,
        *,
        everything: bool = False,
        scope: GivenScope = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> int:
        """Erase memories by their ids, or ``everything`` of a space; returns how many there were.

        Their texts and terms are deleted, not only hidden, and it is written in the audit.

        Raises:
            ValueError: both or neither is given.
            InvalidPayloadError: as :meth:`search`.
        """
        if (ids is None) is not everything:
            raise ValueError("give either ids or everything=True")
        which = None if ids is None else [str(one) for one in ids]
        about: _Told = (name_of(name), scope_of(scope), which, tenant_of(tenant))
        return int(self._control.ask(names.ERASE, *about).get(timeout=timeout))
