"""Marks change with what a principal is shown, and with nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from api.mcp.configured import Configured, ConfiguredPrompt, ConfiguredResource
from api.mcp.listening.marks import LISTS, Watch
from api.openai.catalog import ModelCatalog
from app.access.permissions import Principal, Role
from app.journal.queries.pages import Pulse
from celery_agents.errors import JournalUnavailableError

RUN = "0190aaaa-0000-7000-8000-000000000001"


def row(name: str, **about: Any) -> dict[str, Any]:
    told = {"name": name, "kind": "function", "description": "", "effects": "pure"}
    return {**told, "seen_at": 1.0, "health": None, **about}


class Journal:
    """Agents, and one run; ``away``: it does not answer."""

    def __init__(self) -> None:
        self.agents = [row("own"), row("others")]
        self.tenant, self.pulse, self.looks = "a", Pulse(False, ()), 0
        self.away = False
        self.spaces: dict[str, int] = {}

    async def read(self, work: Any, *args: Any) -> Any:
        if self.away:
            raise JournalUnavailableError("away")
        return work(*args)

    def run(self, run_id: str) -> Any:
        """The run."""
        if run_id != RUN:
            return None
        return {"id": RUN, "tenant": self.tenant, "state": "running", "steps": []}

    def look(self, _: str) -> Pulse:
        """Its pulse."""
        self.looks += 1
        return self.pulse


def watched(journal: Journal, configured: list[Configured] | None = None, **about: Any) -> Watch:
    """The eyes of a principal of tenant ``a`` that may ask ``own``."""
    who = Principal(**{"id": "k", "role": Role.USER, "tenant": "a", "agents": ("own",), **about})

    async def offered() -> Any:
        return await journal.read(lambda: journal.agents)

    async def nothing(*_: Any) -> None:
        return None

    services = SimpleNamespace(
        models=ModelCatalog({}, offered, clock=iter(range(0, 1_000, 60)).__next__),
        read=journal.read,
        posted=SimpleNamespace(offered=lambda: journal.agents),
        desk=SimpleNamespace(run=journal.run, pulse=journal.look),
        endings=SimpleNamespace(look=nothing),
        redis=SimpleNamespace(hget=nothing),
        memories=SimpleNamespace(
            spaces=lambda tenant, _: [*journal.spaces.items()] if tenant == "a" else [],
            stamp=lambda tenant, name: journal.spaces.get(name) if tenant == "a" else None,
        ),
    )
    caller: Any = SimpleNamespace(services=services, who=who)
    given = configured or [Configured()]
    return Watch(caller, lambda: given[-1], {})


def seen(watch: Watch, *uris: str, lists: tuple[str, ...] = LISTS) -> list[str]:
    return asyncio.run(watch.look(lists, uris))


def test_what_is_seen_for_the_first_time_has_not_changed() -> None:
    watch = watched(Journal())
    assert seen(watch, f"run://{RUN}", "agent://own", "agent://others") == []
    assert seen(watch, f"run://{RUN}", "agent://own", "agent://others") == []


def test_of_agents_those_count_that_may_be_asked() -> None:
    journal = Journal()
    narrow, wide = watched(journal), watched(journal, agents=None)
    uris = ("agent://own", "agent://others")
    assert seen(narrow, *uris) == seen(wide, *uris) == []
    journal.agents = [row("own"), row("others", description="new"), row("more")]
    assert seen(narrow, *uris) == []
    assert seen(wide, *uris) == ["tools", "resources", "agent://others"]
    journal.agents[0] = row("own", tools=({"name": "t", "effects": "pure"},), kind="tools")
    assert seen(narrow, *uris) == ["tools", "agent://own"]


def test_that_a_worker_beats_is_no_change() -> None:
    journal = Journal()
    watch = watched(journal)
    assert seen(watch, "agent://own") == []
    journal.agents = [row("own", seen_at=2.0, health={"state": None, "checked_at": 2.0})]
    assert seen(watch, "agent://own") == []
    journal.agents = [row("own", health={"state": "down", "checked_at": 3.0})]
    assert seen(watch, "agent://own") == ["agent://own"]


def test_a_run_is_told_of_to_its_own_tenant_until_it_has_ended() -> None:
    journal, uri = Journal(), f"run://{RUN}"
    own, others = watched(journal), watched(journal, tenant="b")
    unread = watched(journal, role=Role.SERVICE, tenant="b")
    watches = (own, others, unread)
    assert [seen(w, uri, lists=()) for w in watches] == [[], [], []]
    journal.pulse = Pulse(False, ((1,),))
    assert [seen(w, uri, lists=()) for w in watches] == [[uri], [], []]
    journal.pulse = Pulse(True, ((2,),))
    assert [seen(w, uri, lists=()) for w in watches] == [[uri], [], []]
    looks = journal.looks
    assert seen(own, uri, lists=()) == []
    assert journal.looks == looks
    assert seen(own, "run://%00", "run://", "run://nobody", lists=()) == []


def test_a_run_that_comes_into_being_is_told_of() -> None:
    journal, uri = Journal(), f"run://{RUN}"
    watch = watched(journal)
    desk: Any = watch._caller.services.desk
    desk.run = lambda _: None
    assert seen(watch, uri, lists=()) == []
    desk.run = journal.run
    assert seen(watch, uri, lists=()) == [uri]


def test_prompts_and_resources_are_those_of_the_configuration() -> None:
    made = [Configured()]
    watch = watched(Journal(), made)
    assert seen(watch, "docs://one") == []
    made.append(Configured({"p": ConfiguredPrompt(text="hello")}))
    assert seen(watch, "docs://one") == ["prompts"]
    resource = ConfiguredResource(uri="docs://{name}", text="{name}")
    made.append(Configured(made[-1].prompts, {"r": resource}))
    assert seen(watch, "docs://one") == ["resources", "docs://one"]


def test_memories_are_of_the_tenant_for_who_may_ask_all_agents() -> None:
    journal = Journal()
    wide = watched(journal, agents=None)
    none = [watched(journal), watched(journal, agents=None, tenant="b")]
    uris = ("memory://desk", "memory://desk/more", "memory://a%00b")
    assert [seen(w, *uris) for w in (wide, *none)] == [[], [], []]
    journal.spaces["desk"] = 1
    assert [seen(w, *uris) for w in (wide, *none)] == [["resources", "memory://desk"], [], []]
    journal.spaces["desk"] = 2
    assert [seen(w, *uris) for w in (wide, *none)] == [["memory://desk"], [], []]


def test_while_the_journal_is_away_nothing_changes() -> None:
    journal = Journal()
    watch = watched(journal)
    assert seen(watch) == []
    journal.away = True
    assert seen(watch) == []
    journal.away, journal.agents = False, []
    assert seen(watch) == ["tools", "resources"]
