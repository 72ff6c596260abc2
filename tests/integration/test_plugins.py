"""Plug-ins in a real worker: the page's own, and broken ones beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_agents.errors import AgentsError
from deploy.local.state import ROOT
from tests.docs.blocks import blocks
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack
from tests.support.plugged import folder, package
from tests.support.service import SERVICE

pytestmark = pytest.mark.databases("sqlite")

PAGE = ROOT / "docs" / "plugins.md"
BROKEN = {
    "raising": "raise ValueError('no')",
    "exiting": "import sys\nsys.exit(3)",
    "hanging": "import time\ntime.sleep(600)",
}


def configuration(model: ModelServer) -> str:
    """The page's, with broken plug-ins named beside it."""
    shown = "\n".join(b.code for b in blocks(PAGE, "toml")[:1])
    shown = shown.replace('"gpt-5-mini"', f'"m"\nbase_url = "{model.url}/v1"\neffects = "pure"')
    lines = [shown]
    for name in (*BROKEN, "gone"):
        about = f'kind = "openai"\nmodel = "m"\nbase_url = "{model.url}/v1"\ntools = ["{name}"]'
        lines += [
            f'[tools.{name}]\nkind = "plugin"\nplugin = "{name}"',
            f"[agents.{name}]\n{about}",
        ]
        lines += [f"[plugins.{name}]"]
    lines += ['[agents.kindly]\nkind = "broken-kind"\nanything = 1', "[plugins.bots]"]
    return "\n".join(lines)


def test_the_pages_plug_in_beside_broken_ones(
    fast: Stack, tmp_path: Path, model: ModelServer
) -> None:
    (about,) = (b.code for b in blocks(PAGE, "json"))
    (code,) = (b.code for b in blocks(PAGE, "python"))
    there, site = tmp_path / "plugins", tmp_path / "site"
    folder(there, "weather", about, __init__=code)
    for name, text in BROKEN.items():
        offers = {"tools": {"t": ".:t"}, "agents": {"a": "."}, "patterns": {"p": "."}}
        folder(there, name, {"name": name, **offers}, __init__=text)
    points = {"celery_agents/bots": "bots_module", "celery_agents.kinds/broken-kind": "no_module:K"}
    bots = "from celery_agents import agent\n@agent\ndef bot(text): return text.upper()\n"
    package(site, "bots", points, {"bots_module": bots})
    (tmp_path / "agents.toml").write_text(configuration(model))
    fast.worker(
        env={
            "PYTHONPATH": f"{SERVICE.folder}:{site}",
            "AGENTS_CONFIG": str(tmp_path / "agents.toml"),
            "AGENTS_MODULES": "[]",
            "AGENTS_PLUGIN_DIRS": str(there),
            "AGENTS_PLUGIN_TIMEOUT_S": "1",
        }
    )
    client = fast.client
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
