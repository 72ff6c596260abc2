"""Swarms as clients have them: what their streams say, and what work under way is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from celery_agents.client.swarms.swarm import Swarm
from celery_agents.contracts.flows.entries import StreamEntry, StreamEvent
from celery_agents.contracts.teams.swarm import BEGAN, JOINED, MEMBERS_MAX
from celery_agents.errors import InvalidPayloadError

WORK: list[Any] = [1, 2]


@dataclass
class Service:
    """Streams, and starts and signals of runs, as workers have them."""

    entries: list[StreamEntry] = field(default_factory=list)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    started: list[dict[str, Any]] = field(default_factory=list)
    #: What is said of a signal, by its run.
    replies: dict[str, str] = field(default_factory=dict)
    #: Called before an append.
    before: Any = None

    def append(self, stream: str, events: list[StreamEvent], **_: Any) -> list[int]:
        if self.before is not None:
            work, self.before = self.before, None
            work()
        places = []
        for event in events:
            same = (event.kind, event.key)
            known = [e.seq for e in self.entries if event.key and (e.kind, e.key) == same]
            places.append(known[0] if known else len(self.entries))
            if not known:
                about = event.model_dump()
                self.entries.append(StreamEntry(stream=stream, seq=places[-1], at=0.0, **about))
        return places

    def read(self, *_: Any, **__: Any) -> list[StreamEntry]:
        return [*self.entries]

    def tell(self, run_id: str, name: str, value: Any, key: str, tenant: str) -> Any:
        self.told.append((run_id, name, value, key, tenant))
        reply = self.replies.get(run_id, "taken")
        return SimpleNamespace(get=lambda **_: reply)

    def __call__(self, _: str, told: dict[str, Any], **options: Any) -> Any:
        self.started.append({**told, **options})
        return SimpleNamespace(id=options.get("id") or "made", message=None, control=None)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def swarm(service: Service) -> Swarm:
    made: Any = service
    return Swarm(made, made, made, ("desk", "acme"))


def test_entries_that_say_nothing_are_passed_over(service: Service, swarm: Swarm) -> None:
    swarm.join(["a"])
    odd: list[Any] = [None, 1, "", "x" * 1_000, "a\0b", {"x": 1}]
    hostile = [StreamEvent(kind=JOINED, data={"member": one, "agent": "a"}) for one in odd]
    hostile += [StreamEvent(kind=JOINED, data={"member": "b", "agent": one}) for one in odd]
    hostile += [StreamEvent(kind="left", data={"member": one}) for one in odd]
    hostile += [StreamEvent(kind=kind, data={}) for kind in ("joined", "left", "began", "ended")]
    hostile += [StreamEvent(kind="began", data={"run_id": one}) for one in odd]
    service.append("swarm/desk", hostile)
    assert swarm.members() == {"a": "a"}
    assert [*swarm.join(["c"])] == ["a", "c"]
    assert service.told == []
    crowd = [
        StreamEvent(kind=JOINED, data={"member": f"m{n}", "agent": "a"})
        for n in range(MEMBERS_MAX + 5)
    ]
    service.append("swarm/desk", crowd)
    assert len(swarm.members()) == MEMBERS_MAX


def test_work_under_way_is_told_by_who_finds_nothing_new(service: Service, swarm: Swarm) -> None:
    """Whoever wrote it may have died before he told it."""
    swarm.join(["a"])
    swarm.distribute_work(WORK, id="w")
    event = StreamEvent(kind=JOINED, data={"member": "b", "agent": "b"})
    service.append("swarm/desk", [event])
    swarm.join(["b"])
    news = {"members": {"a": "a", "b": "b"}, "at": 3}
    assert service.told == [("w", "members", news, "members-3", "acme")]


def test_work_that_has_ended_is_told_no_more(service: Service, swarm: Swarm) -> None:
    swarm.join(["a"])
    swarm.distribute_work(WORK, id="w")
    swarm.distribute_work(WORK, id="v")
    service.replies["w"] = "too_late"
    swarm.join(["b"])
    assert [one[0] for one in service.told] == ["w", "v"]
    swarm.join(["c"])
    assert [one[0] for one in service.told] == ["w", "v", "v"]


@pytest.mark.parametrize("verb", ["distribute_work", "broadcast", "request_consensus"])
def test_the_same_id_is_the_same_call_whoever_has_joined_since(
    service: Service, swarm: Swarm, verb: str
) -> None:
    with pytest.raises(InvalidPayloadError, match="no members"):
        getattr(swarm, verb)(WORK, id="w")
    swarm.join(["a", "b"])
    getattr(swarm, verb)(WORK, id="w")
    swarm.join(["c"])
    swarm.leave("a", "b")
    getattr(swarm, verb)(WORK, id="w")
    assert service.started[0] == service.started[1]
    assert service.started[0]["members"] == {"a": "a", "b": "b"}
    getattr(swarm, verb)(WORK)
    assert service.started[2]["members"] == {"c": "c"}


def test_who_joins_just_before_work_begins_is_among_its_members(
    service: Service, swarm: Swarm
) -> None:
    made: Any = service
    swarm.join(["a"])
    other = Swarm(made, made, made, ("desk", "acme"))
    service.before = lambda: other.join(["b"])
    swarm.distribute_work(WORK)
    assert service.started[0]["members"] == {"a": "a", "b": "b"}
    assert service.entries[-1].kind == BEGAN
