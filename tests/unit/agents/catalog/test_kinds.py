from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any, Literal

import pytest

from agents.catalog import kinds as module
from agents.catalog.entries import Described
from agents.catalog.kinds import BUILT_IN, Kind, Made, all_kinds, entry_of
from celery_agents.errors import ConfigurationError


class OwnEntry(Described):
    kind: Literal["own"]
    size: int = 1


def make(entry: OwnEntry, _: Any) -> Made:
    raise AssertionError(entry)


OWN = Kind("own", OwnEntry, make)
OPENAI = Kind("openai", OwnEntry, make)


def offered(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    point = EntryPoint(name, f"{__name__}:{name}", module.ENTRY_POINTS)
    monkeypatch.setattr(module, "load", lambda _: globals()[name])
    monkeypatch.setattr(module, "entry_points", lambda group: [point] if "kinds" in group else [])


def test_a_package_adds_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(all_kinds()) == [kind.name for kind in BUILT_IN]
    offered(monkeypatch, "OWN")
    found = all_kinds()
    assert found["own"] is OWN
    entry = entry_of({"kind": "own", "size": 3, "backup": "b"}, found)
    assert isinstance(entry, OwnEntry)
    assert (entry.size, entry.backup, OWN.check(entry), OWN.provider(entry)) == (3, "b", None, None)


@pytest.mark.parametrize(
    ("name", "words"), [("OPENAI", "Two kinds .*'openai'"), ("make", "is no Kind")]
)
def test_what_is_no_kind_of_its_own_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    offered(monkeypatch, name)
    with pytest.raises(ConfigurationError, match=words):
        all_kinds()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            {},
            (
                "kind: None is none of anthropic, celery, function, google, http, langgraph, "
                "openai, openai_agents, pydantic_ai"
            ),
        ),
        ({"kind": "opnai"}, "kind: 'opnai' is none of"),
        ({"kind": ["http"]}, "is none of"),
        ("text", "is none of"),
        ({"kind": "celery", "task": "t"}, "queue: Field required"),
        ({"kind": "celery", "task": "t", "queue": "q", "qeue": 1}, "qeue: Extra inputs"),
    ],
)
def test_wrong_entries_say_where(table: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        entry_of(table, all_kinds())


@pytest.mark.parametrize("name", ["openai", "anthropic", "google"])
def test_a_models_provider_is_its_kind(name: str) -> None:
    entry = entry_of({"kind": name, "model": "m", "provider": "openai"}, all_kinds())
    assert entry.model_dump()["provider"] == name
