from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from agents.catalog.checks import connection_to
from agents.catalog.entries import Described, ModelEntry
from agents.catalog.kinds import BUILT_IN, Kind, Made, Resources, all_kinds, entry_of
from agents.catalog.registry import Registry
from agents.kinds.model import ModelBackend
from agents.models.openai import OpenAIProvider
from agents.net.clients import SharedClients
from agents.plugins import PluginError
from celery_agents.errors import ConfigurationError
from tests.support.plugged import package


class OwnEntry(Described):
    kind: Literal["own"]
    size: int = 1


def make(entry: OwnEntry, _: Any) -> Made:
    raise AssertionError(entry)


OWN = Kind("own", OwnEntry, make)


class AcmeProvider(OpenAIProvider):
    name = "acme"
    endpoint = "https://models.acme.example/v1"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_package_adds_a_kind(site: Path) -> None:
    assert list(all_kinds()) == [kind.name for kind in BUILT_IN]
    package(site, "owns", {"celery_agents.kinds/own": f"{__name__}:OWN"})
    found = all_kinds()
    assert found["own"] is OWN
    entry = entry_of({"kind": "own", "size": 3, "backup": "b"}, found)
    assert isinstance(entry, OwnEntry)
    assert (entry.size, entry.backup, OWN.check(entry), OWN.provider(entry)) == (3, "b", None, None)


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ("kinds/other = OWN", "its Kind is named 'own'"),
        ("kinds/make = make", "is no Kind"),
        ("kinds/gone = nothing", "has no nothing"),
        ("providers/acme = OWN", "is no provider of models"),
    ],
)
def test_what_is_no_kind_of_its_own_is_an_error_for_who_names_it(
    site: Path, point: str, words: str
) -> None:
    place, _, value = point.partition(" = ")
    package(site, "owns", {f"celery_agents.{place}": f"{__name__}:{value}"})
    found, name = all_kinds(), place.partition("/")[2]
    assert name in found
    assert len([*found]) == len(found) == len(BUILT_IN) + 1
    assert entry_of({"kind": "scripted"}, found).kind == "scripted"
    with pytest.raises(PluginError, match=f"plug-in owns 1.0 .*{words}"):
        entry_of({"kind": name}, found)


def test_a_built_in_kind_is_not_replaced(site: Path) -> None:
    package(site, "owns", {"celery_agents.kinds/openai": f"{__name__}:OWN"})
    assert all_kinds()["openai"] in BUILT_IN


def test_a_package_adds_a_provider(site: Path) -> None:
    package(site, "owns", {"celery_agents.providers/acme": f"{__name__}:AcmeProvider"})
    found = all_kinds()
    entry = entry_of({"kind": "acme", "model": "m", "tools": []}, found)
    assert isinstance(entry, ModelEntry)
    shared = found["acme"].provider(entry)
    assert (entry.provider, shared and shared.target) == ("acme", "provider:acme")
    assert found["acme"].check(entry) == connection_to("https://models.acme.example/v1")
    with ThreadPoolExecutor(1) as executor:
        nothing: Any = lambda _: None  # noqa: E731 - one for both
        made = found["acme"].make(entry, Resources(nothing, executor, SharedClients(), nothing))
    backend = made.backend()
    assert isinstance(backend, ModelBackend)
    assert (backend.config.provider, backend.config.model) == ("acme", "m")


def test_an_entry_of_a_broken_kind_stands_for_an_agent_that_fails(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package(
        site, "owns", {"celery_agents.kinds/bad": "bad_kind_module:K"}, {"bad_kind_module": "1 / 0"}
    )
    path = tmp_path / "agents.toml"
    path.write_text('[agents.a]\nkind = "bad"\nsize = 3\n[agents.b]\nkind = "scripted"\n')
    with ThreadPoolExecutor(1) as executor:
        nothing: Any = lambda _: None  # noqa: E731 - one for both
        registry = Registry(Resources(nothing, executor, SharedClients(), nothing))
        registry.load(config=path, modules=())
    assert [a.name for a in registry] == ["a", "b"]
    assert registry.get("b").backend is not None
    with pytest.raises(PluginError, match=r"plug-in owns 1.0 .*ZeroDivisionError"):
        _ = registry.get("a").backend
    assert "ZeroDivisionError" in caplog.text


BAD_KINDS = """
from agents.catalog.entries import Described
from agents.catalog.kinds import Kind, Made
from pydantic import model_validator

class Entry(Described):
    kind: str

class Odd(Described):
    kind: str

    @model_validator(mode="before")
    @classmethod
    def fails(cls, told):
        raise KeyError("odd")

def raises(entry, resources):
    return {}["gone"]

def fails(entry):
    raise OSError("no check")

made = lambda entry, resources: Made(lambda: None, "pure")
k1 = Kind("k1", Entry, raises)
k2 = Kind("k2", Entry, lambda entry, resources: None)
k3 = Kind("k3", Entry, made, fails)
k4 = Kind("k4", Odd, made)
k5 = Kind("k5", None, made)
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [("k1", "'gone'"), ("k2", "Error"), ("k3", "no check"), ("k4", "'odd'"), ("k5", "Error")],
)
def test_a_kind_whose_code_fails_costs_its_agents(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, words: str
) -> None:
    points = {f"celery_agents.kinds/{kind}": f"failing_kinds:{kind}"}
    package(site, "owns", points, {"failing_kinds": BAD_KINDS})
    path = tmp_path / "agents.toml"
    path.write_text(f'[agents.a]\nkind = "{kind}"\n[agents.b]\nkind = "scripted"\n')
    with ThreadPoolExecutor(1) as executor:
        nothing: Any = lambda _: None  # noqa: E731 - one for both
        registry = Registry(Resources(nothing, executor, SharedClients(), nothing))
        registry.load(config=path, modules=())
    assert registry.get("b").backend is not None
    with pytest.raises(PluginError, match=f"plug-in owns 1.0 .*{kind}.*{words}"):
        _ = registry.get("a").backend
    assert "plug-in owns 1.0" in caplog.text


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
