"""Packages of a user's own, as the pages show them: a kind of agents, a pattern, a toolset."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_agents.errors import ConfigurationError
from deploy.local.state import ROOT
from tests.docs.blocks import blocks
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack
from tests.support.service import SERVICE

pytestmark = pytest.mark.databases("sqlite")

AGENTS = """
[agents.hi]
kind = "greeter"
greeting = "Ahoy"

[plugins.greetings]
"""
POINTS = """[celery_agents.kinds]
greeter = greeting:GREETER
[celery_agents.patterns]
twice = twice
"""

TILL = """
from celery_agents import Toolset, tool

@tool
def charge(amount: int) -> str:
    "Charges a card."
    return f"charged {amount}"

@tool(name="refund")
def pay_back(amount: int) -> str:
    "Pays back."
    return f"paid {amount} back"

class Till(Toolset):
    "Lists another tool each time."
    name, effects, listed = "till", "effect", 0

    async def specs(self, step):
        self.listed += 1
        return [charge if self.listed % 2 else pay_back]

    async def call(self, name, arguments, *, key, step):
        return await {"charge": charge, "refund": pay_back}[name].call(arguments)

till = Till()
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The page's modules, as an installed distribution."""
    site = tmp_path / "site"
    about = site / "greetings-1.0.dist-info"
    about.mkdir(parents=True)
    shown = {
        block.code.split(".py", 1)[0].removeprefix("# "): block.code
        for block in blocks(ROOT / "docs" / "design.md", "python")
    }
    for name in ("greeting", "twice"):
        (site / f"{name}.py").write_text(shown[name])
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (site / "agents.toml").write_text(AGENTS)
    return site


def test_a_kind_and_a_pattern_of_a_package(fast: Stack, package: Path) -> None:
    fast.worker(
        env={
            "PYTHONPATH": f"{SERVICE.folder}:{package}",
            "AGENTS_CONFIG": str(package / "agents.toml"),
            "AGENTS_MODULES": "[]",
        }
    )
    assert fast.client.ask("hi", "Ada").get(timeout=SOON_S) == "Ahoy, Ada!"
    sent = fast.client.celery.send_task(
        "twice.twice", ["Ada"], {"agent": "hi"}, queue="agents", task_id="both"
    )
    assert sent.get(timeout=SOON_S) == "Ahoy, Ahoy, Ada!!"
    assert len(fast.members("both")) == 2


@pytest.fixture
def tools(tmp_path: Path, model: ModelServer) -> Path:
    """Modules with toolsets, the page's among them, and models that have them."""
    site = tmp_path / "site"
    site.mkdir()
    (shown,) = (b.code for b in blocks(ROOT / "docs" / "tools.md", "python") if "# desk" in b.code)
    (site / "desk.py").write_text(shown)
    (site / "till.py").write_text(TILL)
    (site / "clash.py").write_text(
        "from till import charge\nfrom celery_agents import tool\n"
        "desk_find = tool(name='desk_find')(charge.function)\n"
    )
    about = f'kind = "openai"\nmodel = "m"\nbase_url = "{model.url}/v1"\neffects = "pure"\n'
    (site / "agents.toml").write_text(
        f'[agents.desk]\n{about}tools = ["desk:desk"]\n'
        f'[agents.till]\n{about}tools = ["till:till"]\n'
        f'[agents.both]\n{about}tools = ["desk:desk", "clash:desk_find"]\n'
    )
    return site


def test_toolsets_of_a_package(fast: Stack, tools: Path, model: ModelServer) -> None:
    fast.worker(
        env={
            "PYTHONPATH": f"{SERVICE.folder}:{tools}",
            "AGENTS_CONFIG": str(tools / "agents.toml"),
            "AGENTS_MODULES": "[]",
        }
    )
    client = fast.client
    # An attempt that fails in the middle: the next one goes on, with the list that there was.
    model.script(
        Does(tool=("charge", {"amount": 3})), Does(status=500), Does(text="Paid."), Does(text="OK")
    )
    paid = client.ask("till", "Charge 3.")
    assert paid.get(timeout=SOON_S) == "Paid."
    done = [call.name for call in fast.calls(paid.id) if call.error is None]
    assert done == ["tools", "model:openai/m", "tool:charge", "model:openai/m"]
    client.ask("till", "And now?").get(timeout=SOON_S)
    offered = [[t["function"]["name"] for t in seen.body["tools"]] for seen in model.requests]
    assert offered == [["charge"]] * 3 + [["refund"]]
    assert "charged 3" in str(model.requests[2].body)

    model.script(Does(tool=("desk_find", {"number": 7})), Does(text="It is sent."))
    assert client.ask("desk", "Where is 7?").get(timeout=SOON_S) == "It is sent."
    assert "sent" in str(model.requests[-1].body["messages"][-1])

    assert client.fallback(["desk"], "?", strategy="parallel").get(timeout=SOON_S)
    with pytest.raises(ConfigurationError, match="'till' has effects"):
        client.fallback(["desk", "till"], "?", strategy="hedged").get(timeout=SOON_S)
    with pytest.raises(
        ConfigurationError, match=r"'desk_find': one of 'functions of .*'desk_desk'"
    ):
        client.ask("both", "?").get(timeout=SOON_S)
