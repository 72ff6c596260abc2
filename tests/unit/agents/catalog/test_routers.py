"""Routers and keys as agents.toml has them: what they stand for, and what is refused."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import Any, cast

import pytest

from agents.catalog.kinds import Resources
from agents.catalog.probes import probe_agents
from agents.catalog.registry import Registry
from agents.net.clients import SharedClients
from celery_agents.errors import ConfigurationError

MODELS = """
    [agents.gpt]
    kind = "openai"
    model = "m"
    keys = ["KEY_A", "KEY_B"]

    [agents.claude]
    kind = "anthropic"
    model = "c"

    [agents.service]
    kind = "http"
    url = "http://127.0.0.1:9/ask"

    [agents.pays]
    kind = "http"
    url = "http://127.0.0.1:9/pay"
    effects = "effect"

    [agents.local]
    kind = "function"
    function = "tests.support.agents:noop"
"""


def router(among: str, more: str = "", name: str = "any") -> str:
    return f"""
    [agents.{name}]
    kind = "router"
    among = [{among}]
    {more}
    """


def loaded(directory: Path, *tables: str) -> Registry:
    config = directory / "agents.toml"
    config.write_text("".join(map(textwrap.dedent, (MODELS, *tables))))
    resources = Resources(
        resolve_secret=lambda _: None,
        executor=cast("Any", None),
        clients=SharedClients(),
        celery=cast("Any", None),
    )
    registry = Registry(resources)
    registry.load(config=config, modules=())
    return registry


def deployments(registry: Registry, name: str) -> list[str]:
    return [one.deployment for one in registry.deployments_of(registry.get(name))]


def test_a_router_stands_for_all_that_it_has_each_once(tmp_path: Path) -> None:
    inner, outer = router('"gpt", "service"', name="inner"), router('"claude", "inner", "gpt"')
    registry = loaded(tmp_path, inner, outer)
    assert deployments(registry, "any") == ["claude", "gpt#KEY_A", "gpt#KEY_B", "service"]
    assert registry.routed == {"claude", "gpt#KEY_A", "gpt#KEY_B", "service"}


def test_each_key_has_accounts_and_breakers_of_its_own_and_shares_the_rest(tmp_path: Path) -> None:
    registry = loaded(tmp_path)
    first, second = registry.deployments_of(registry.get("gpt"))
    assert (first.account, second.account) == ("provider:openai#KEY_A", "provider:openai#KEY_B")
    assert (first.target, second.target) == ("agent:gpt#KEY_A", "agent:gpt#KEY_B")
    assert first.name == second.name == "gpt"
    assert first.backend is not second.backend
    assert registry.routed == {"gpt#KEY_A", "gpt#KEY_B"}


def test_one_key_is_no_choice(tmp_path: Path) -> None:
    single = """
    [agents.single]
    kind = "openai"
    model = "m"
    keys = ["KEY_A"]
    """
    agent = loaded(tmp_path, single).get("single")
    assert (agent.deployments, agent.route, agent.deployment) == ((), None, "single")
    assert agent.account == "provider:openai#KEY_A"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (router('"gtp"'), r"\[agents.any\] among: 'gtp' is not another agent.*'gpt'"),
        (router('"any"'), r"\[agents.any\] among: 'any' is not another agent"),
        (router('"local"'), r"\[agents.any\] among: 'local' is of kind function"),
        (router('"pays"'), r"\[agents.any\] among: 'pays' has effects"),
        (router(""), r"\[agents.any\] among: Tuple should have at least 1 item"),
        (router('"gpt"', 'by = "price"'), r"\[agents.any\] by: Input should be 'cost'"),
        (router('"gpt"', 'probe = "?"'), "probe and breaker are of the agents that it has"),
        (
            router('"b"', name="a") + router('"a"', name="b"),
            r"\[agents.\w\] among: \w → \w → \w is a circle",
        ),
        (
            '[agents.x]\nkind = "openai"\nmodel = "m"\nkeys = ["A", "A"]',
            r"\[agents.x\] keys: .*twice",
        ),
        (
            '[agents.x]\nkind = "openai"\nmodel = "m"\nkeys = ["A"]\napi_key_env = "B"',
            "keys and api_key_env say the same",
        ),
        (
            router('"gpt"') + '[limits.x]\ncovers = ["agent:any"]\nconcurrent = 1',
            "'agent:any' is no agent, kind or provider here",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        loaded(tmp_path, table)


def test_a_router_is_as_well_as_the_best_that_it_has(tmp_path: Path) -> None:
    registry = loaded(tmp_path, router('"service"', name="down"))

    async def probed() -> dict[str, str | None]:
        found = await probe_agents(
            [registry.get("down"), registry.get("service")], timeout_s=2, queues=set
        )
        return {probe.target: probe.error for probe in found}

    found = asyncio.run(probed())
    assert found["agent:down"] == found["agent:service"]
    assert found["agent:down"] is not None
