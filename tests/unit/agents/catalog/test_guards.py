"""Guards of agents.toml: what is one, round whom it stands, and what is told of mistakes."""

from __future__ import annotations

import builtins
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents.catalog.guards import Guards
from agents.catalog.kinds import Resources
from agents.catalog.registry import Registry
from agents.net.clients import SharedClients
from celery_agents.contracts.guards import GuardPolicy
from celery_agents.errors import AgentFailedError, ConfigurationError

AGENTS = """
[agents.gpt]
kind = "openai"
model = "m"

[agents.echo]
kind = "scripted"

[agents.moderator]
kind = "scripted"
"""


def load(tmp_path: Path, guards: str) -> Registry:
    config = tmp_path / "agents.toml"
    config.write_text(AGENTS + textwrap.dedent(guards))
    resources = Resources(
        str,
        ThreadPoolExecutor(1),
        SharedClients(),
        lambda _: None,  # type: ignore[arg-type, return-value]
    )
    registry = Registry(resources)
    registry.load(config=config, modules=())
    return registry


def test_they_stand_round_what_they_cover_in_the_order_of_the_file(tmp_path: Path) -> None:
    registry = load(
        tmp_path,
        """
        [guards.words]
        covers = ["kind:scripted", "agent:gpt"]
        words = ["damn"]
        input = "block"

        [guards.privacy]
        covers = ["provider:openai"]
        pii = ["email", "phone"]
        regions = ["DE"]
        input = "mask"
        """,
    )
    names = {a.name: [rule.name for rule in registry.guards_of(a)] for a in registry}
    assert names["gpt"] == ["words", "privacy"]
    assert names["echo"] == names["moderator"] == ["words"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('pii = ["email"]\ninput = "flag"', r"\[guards.g\] covers: "),
        ('covers = ["agent:gpt"]\ninput = "flag"', "give one of pii, words"),
        ('covers = ["agent:gpt"]\nwords = ["x!"]\npii = ["ip"]\ninput = "flag"', "give one of"),
        ('covers = ["agent:gpt"]\npii = ["ip"]', "it does nothing"),
        ('covers = ["agent:gpt"]\npii = ["mail"]\ninput = "flag"', r"pii.0: .*'email'"),
        ('covers = ["agent:gpt"]\npii = ["ip"]\ninput = "hide"', "input: .*'mask'"),
        ('covers = ["agent:gtp"]\npii = ["ip"]\ninput = "flag"', "Did you mean 'agent:gpt'"),
        ('covers = ["gpt"]\npii = ["ip"]\ninput = "flag"', "'gpt' is none of provider"),
        ('covers = ["agent:gpt"]\nuntrusted = true\ninput = "mask"', "leave input and output out"),
        ('covers = ["agent:gpt"]\njudge = "moderator"\noutput = "mask"', "take flag or block"),
        ('covers = ["agent:gpt"]\njudge = "moderater"\noutput = "flag"', "mean 'moderator'"),
        ('covers = ["kind:scripted"]\njudge = "moderator"\ninput = "flag"', "is a circle"),
        ('covers = ["agent:gpt"]\npii = ["ip"]\nregions = ["DE"]\ninput = "flag"', "regions are"),
        (
            'covers = ["agent:gpt"]\npii = ["phone"]\nregions = ["XX"]\ninput = "flag"',
            r"\[guards.g\] regions: there is no XX",
        ),
        (
            'covers = ["agent:gpt"]\nfunction = "tests.nowhere:find"\ninput = "flag"',
            r"\[guards.g\] The module 'tests.nowhere'",
        ),
        ('covers = ["agent:gpt"]\nwords = ["*"]\ninput = "flag"', r"words.0: "),
    ],
)
def test_what_is_none(tmp_path: Path, table: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load(tmp_path, f"[guards.g]\n{table}")


def test_phones_need_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "phonenumbers":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    policy = GuardPolicy(covers=("agent:a",), pii=("phone",), input="flag")
    with pytest.raises(ConfigurationError, match=r"celery-agents\[pii\]"):
        Guards({"p": policy})


def some(text: str) -> list[tuple[int, int, str]]:
    """Somebody's function: what it is told to find."""
    return [(text.find("Anna"), text.find("Anna") + 4, "PERSON")]


def test_a_function_of_somebodys_is_held_to_its_text() -> None:
    path = f"{__name__}:some"
    guards = Guards({"p": GuardPolicy(covers=("agent:a",), function=path, input="mask")})
    (rule,) = guards.of({"agent:a"})
    assert rule.foreign
    assert rule.find is not None
    assert [(one.start, one.end, one.kind) for one in rule.find("I am Anna")] == [(5, 9, "PERSON")]
    with pytest.raises(AgentFailedError, match="a place that its text has not"):
        rule.find("I am Bob")
