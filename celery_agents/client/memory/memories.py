"""``agents.memory``: what agents keep for later runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import Id, name_of, tenant_of
from celery_agents.contracts.experience import MemoryEffect
from celery_agents.contracts.memory import (
    RECALL_TOKENS,
    MemoryRecord,
    NewMemories,
    ToEmbed,
    memory_text_of,
    moment_of,
    scope_of,
)
from celery_agents.errors import AgentFailedError

if TYPE_CHECKING:
    from celery_agents.client.verbs import MapVerb

GivenScope = Mapping[str, str] | None
#: What a message tells a worker.
_Told = tuple[Any, ...]


class Memories:
    """Searches memories, reads them whole, adds to them and erases; a worker does it.

    Each is named as in the workers' configuration, and a ``scope`` fills the places of its space.
    Spaces belong to a tenant; without one, to nobody in particular.
    """

    def __init__(self, control: Control, map_verb: MapVerb) -> None:
        self._control = control
        self._map = map_verb

    def search(
        self,
        name: str,
        question: str,
        *,
        scope: GivenScope = None,
        tokens: int = RECALL_TOKENS,
        at: datetime | float | None = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> list[MemoryRecord]:
        """Memories that fit a question, the best first, within so many tokens.

        With ``at``, a moment in seconds since 1970 or with its zone, those that held then.

        Raises:
            InvalidPayloadError: there is no such memory, the scope lacks a value, or the space
                had too many memories at that moment.
        """
        about: _Told = (name_of(name), memory_text_of(question, "question"), scope_of(scope))
        options: dict[str, Any] = {"tokens": tokens, "tenant": tenant_of(tenant)}
        if at is not None:
            options["at"] = moment_of(at)
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
        trust: int = 3,
        thread: str = "",
        about: Sequence[str] = (),
        caused_by: Sequence[str] = (),
        tenant: str = "",
        timeout: float = 10.0,
    ) -> list[str]:
        """Keep texts, all of them or none; returns their ids.

        Those of one ``thread`` are turns of a conversation, in their order: where one is found, its
        neighbours are more likely to be. The first one takes the place of what it
        ``replaces``. ``trust`` is 1 for what others wrote, as documents: it is only told as data.
        ``about`` and ``caused_by`` are ids of memories with which they are linked (``backend =
        "graph"``).

        Raises:
            InvalidPayloadError: as above, or a text is empty or too long.
            PayloadTooLargeError: the space has no room for one of them.
        """
        more: dict[str, Any] = {"importance": importance, "replaces": replaces, "trust": trust}
        more |= {"thread": thread, "about": [*about], "caused_by": [*caused_by]}
        new = NewMemories.read({"name": name, "texts": texts, **more})
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

    def effect(
        self,
        name: str,
        *,
        agent: str | None = None,
        scope: GivenScope = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> MemoryEffect:
        """Compare runs that were told what did well before with those that were held out.

        Of all agents that the memory ``learns_from``, or of one. Raises as :meth:`search`.
        """
        of = None if agent is None else name_of(agent, "agent")
        about: _Told = (name_of(name), scope_of(scope), of, tenant_of(tenant))
        asked = self._control.ask(names.EFFECT, *about)
        found: dict[str, Any] = asked.get(timeout=timeout)
        asked.forget()
        return MemoryEffect.model_validate(found)

    def reembed(
        self,
        name: str,
        *,
        scope: GivenScope = None,
        tenant: str = "",
        timeout: float = 600.0,
    ) -> int:
        """Have vectors made of memories that lack one of the agent in ``embed``; how many.

        For texts that clients have remembered, and after ``embed`` has changed. In portions, each a
        run of :meth:`Client.map`: it may be ended at any time and go on later, and is paid once for
        each text. ``timeout`` is for each portion. Raises as :meth:`search`.

        Raises:
            ConfigurationError: no agent makes its vectors.
            AllCandidatesFailedError: of a whole portion it answered none.
            AgentFailedError: its answers are no vectors.
        """
        made, whose = 0, tenant_of(tenant)
        place: int | None = -1
        while place is not None:
            about: _Told = (name_of(name), scope_of(scope), place, whose)
            asked = self._control.ask(names.UNEMBEDDED, *about)
            portion = ToEmbed.model_validate(asked.get(timeout=timeout))
            asked.forget()
            if portion.ids:
                made += self._embed(name, portion, scope_of(scope), whose, timeout)
            place = portion.more
        return made

    def _embed(
        self, name: str, portion: ToEmbed, scope: dict[str, str], tenant: str, timeout: float
    ) -> int:
        run = self._map(portion.agent, [*portion.texts], tenant=tenant)
        run.get(timeout=timeout)
        about: _Told = (name_of(name), run.id, [*portion.ids], scope)
        asked = self._control.ask(names.EMBED, *about, options={"tenant": tenant})
        found = int(asked.get(timeout=timeout))
        if not found:
            raise AgentFailedError(f"{portion.agent} made no vector of {len(portion.ids)} texts.")
        return found

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
