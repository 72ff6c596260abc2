"""Agents whose model is a fake one, offered by the workers of a scenario."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.stand import Stand
from tests.fakes.model_server import ModelServer

_AGENT = """
[agents.{name}]
kind = "openai"
model = "{name}"
base_url = "{url}/v1"
tools = {tools}
"""


@contextmanager
def offered(stand: Stand, model: ModelServer, **agents: Sequence[str]) -> Iterator[None]:
    """Serve the model, for agents of these names with these tools, to workers started within."""
    threading.Thread(target=model.serve_forever, daemon=True).start()
    config = stand.stack.directory / "agents.toml"
    config.write_text(
        "".join(
            _AGENT.format(name=name, url=model.url, tools=json.dumps(tools))
            for name, tools in agents.items()
        )
    )
    stand.stack.env |= {"AGENTS_CONFIG": str(config), "OPENAI_API_KEY": "none"}
    try:
        yield
    finally:
        model.close()
