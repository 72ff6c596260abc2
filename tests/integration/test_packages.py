"""Packages and folders of a user's own, as the pages show them, in one real worker.

A kind of agents, a pattern, toolsets, and plug-ins with broken ones beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_agents.errors import AgentsError, ConfigurationError
from deploy.local.state import ROOT
from tests.docs.blocks import blocks
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Location, Stack
from tests.support.plugged import folder, package
from tests.support.service import SERVICE

pytestmark = pytest.mark.databases("sqlite")

#: What the page about design shows.
OWN = """
[agents.hi]
kind = "greeter"
greeting = "Ahoy"

[plugins.greetings]
"""
POINTS = {
    "celery_agents.kinds/greeter": "greeting:GREETER",
    "celery_agents.patterns/twice": "twice",
}

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
CLASH = """
from till import charge
from celery_agents import tool

desk_find = tool(name="desk_find")(charge.function)
"""
#: Plug-ins that are found, and fail when they are imported.
BROKEN = {
    "raising": "raise ValueError('no')",
    "exiting": "import sys\nsys.exit(3)",
    "hanging": "import time\ntime.sleep(600)",
}
BOTS = "from celery_agents import agent\n@agent\ndef bot(text): return text.upper()\n"


def shown(page: str, language: str) -> list[str]:
    """The blocks of a page."""
    return [block.code for block in blocks(ROOT / "docs" / page, language)]


def packages(site: Path, plugins: Path) -> None:
    """Lay down what a user has installed, and the folders of plug-ins."""
    named = {
        code.split(".py", 1)[0].removeprefix("# "): code for code in shown("design.md", "python")
    }
    package(site, "greetings", POINTS, {name: named[name] for name in ("greeting", "twice")})
    points = {"celery_agents/bots": "bots_module", "celery_agents.kinds/broken-kind": "no_module:K"}
    package(site, "bots", points, {"bots_module": BOTS})
    (desk,) = (code for code in shown("tools.md", "python") if "# desk" in code)
    for name, code in {"desk": desk, "till": TILL, "clash": CLASH}.items():
        (site / f"{name}.py").write_text(code)
    (about,), (code,) = shown("plugins.md", "json"), shown("plugins.md", "python")
    folder(plugins, "weather", about, __init__=code)
    offers = {"tools": {"t": ".:t"}, "agents": {"a": "."}, "patterns": {"p": "."}}
    for name, text in BROKEN.items():
        folder(plugins, name, {"name": name, **offers}, __init__=text)


def configuration(model: ModelServer) -> str:
    """Agents that use it; the one of the page about plug-ins asks the model of the test."""
    about = f'kind = "openai"\nmodel = "m"\nbase_url = "{model.url}/v1"\neffects = "pure"'
    guide = shown("plugins.md", "toml")[0]
    guide = guide.replace('"gpt-5-mini"', f'"m"\nbase_url = "{model.url}/v1"\neffects = "pure"')
    tools = {"desk": ["desk:desk"], "till": ["till:till"], "both": ["desk:desk", "clash:desk_find"]}
    tools |= {name: [name] for name in (*BROKEN, "gone")}
    lines = [OWN, guide]
    lines += [f"[agents.{name}]\n{about}\ntools = {own}" for name, own in tools.items()]
    for name in (*BROKEN, "gone"):
        lines += [f'[tools.{name}]\nkind = "plugin"\nplugin = "{name}"', f"[plugins.{name}]"]
    lines += ['[agents.kindly]\nkind = "broken-kind"\nanything = 1', "[plugins.bots]"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def served(location: Location, model: ModelServer) -> Iterator[Stack]:
    """A stack whose worker has all of it."""
    site, plugins = (location.directory / name for name in ("site", "plugins"))
    packages(site, plugins)
    config = location.directory / "agents.toml"
    config.write_text(configuration(model))
    about = {
        "PYTHONPATH": f"{SERVICE.folder}:{site}",
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": "[]",
        "AGENTS_PLUGIN_DIRS": str(plugins),
        "AGENTS_PLUGIN_TIMEOUT_S": "1",
    }
    made = Stack(*location, {**FAST, **about})
    made.worker()
    yield made
    made.close()


def test_a_kind_and_a_pattern_of_a_package(served: Stack) -> None:
    assert served.client.ask("hi", "Ada").get(timeout=SOON_S) == "Ahoy, Ada!"
    sent = served.client.celery.send_task(
        "twice.twice", ["Ada"], {"agent": "hi"}, queue="agents", task_id="both"
    )
    assert sent.get(timeout=SOON_S) == "Ahoy, Ahoy, Ada!!"
    assert len(served.members("both")) == 2


def test_toolsets_of_a_package(served: Stack, model: ModelServer) -> None:
    client = served.client
    # An attempt that fails in the middle: the next one goes on, with the list that there was.
    model.script(
        Does(tool=("charge", {"amount": 3})), Does(status=500), Does(text="Paid."), Does(text="OK")
    )
    paid = client.ask("till", "Charge 3.")
    assert paid.get(timeout=SOON_S) == "Paid."
    done = [call.name for call in served.calls(paid.id) if call.error is None]
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


def test_the_pages_plug_in_beside_broken_ones(served: Stack, model: ModelServer) -> None:
    client = served.client
    model.script(Does(tool=("forecast", {"town": "Bath"})), Does(text="Take an umbrella."))
    asked = client.ask("guide", "And tomorrow?")
    assert asked.get(timeout=SOON_S) == "Take an umbrella."
    assert "Bath: rain" in str(model.requests[-1].body["messages"][-1])
    assert client.ask("bot", "hello").get(timeout=SOON_S) == "HELLO"
    told = {
        "raising": "plug-in raising .*ValueError: no",
        "exiting": "plug-in exiting .*SystemExit: 3",
        "hanging": "plug-in hanging .*has not ended",
        "gone": "no plug-in 'gone'",
        "kindly": "plug-in bots 1.0 .*no_module",
    }
    requests = len(model.requests)
    for name, words in told.items():
        with pytest.raises(AgentsError, match=words):
            client.ask(name, "?").get(timeout=SOON_S)
    assert len(model.requests) == requests
