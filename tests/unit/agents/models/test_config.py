from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agents.catalog.kinds import all_kinds
from agents.catalog.registry import read_entries
from agents.models.config import ModelConfig
from celery_agents.errors import ConfigurationError


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": ""},
        {"model": ""},
        {"base_url": "ftp://host/"},
        {"base_url": "https://user:pass@host/v1"},
        {"api_key_env": "sk-abc123def456"},  # a key where its name belongs
        {"temperature": 3},
        {"provider": "anthropic", "temperature": 0.5},
        {"provider": "anthropic", "organization": "org-1"},
        {"provider": "google", "project": "p"},
        {"organization": "org-1\r\nX-Other: 1"},
        {"max_turns": 0},
        {"request_timeout_s": 0},
        {"structured": "xml"},
        {"temprature": 1},
        {"price": {"input_usd": -1, "output_usd": 1}},
    ],
)
def test_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelConfig.model_validate({"provider": "openai", "model": "m"} | fields)


def test_an_entry_as_people_write_it() -> None:
    config = ModelConfig.model_validate(
        {"provider": "openai", "model": "llama3", "base_url": "http://localhost:11434/v1"}
    )
    assert config.api_key_env is None
    assert config.tools == ()


SERVED = {
    "http://127.0.0.1:8/v1": ("http://127.0.0.1:8/v1", {}),
    "https://[::1]:8/v1": ("https://[::1]:8/v1", {}),
    "https://h/v1\n": ("https://h/v1", {}),
    "  https://h/v1/  ": ("https://h/v1/", {}),
    "https://h/v1?": ("https://h/v1", {}),
    "https://h/v1?api-version=1": ("https://h/v1", {"api-version": "1"}),
    "https://h?a=1&b=x%26y&c=": ("https://h", {"a": "1", "b": "x&y", "c": ""}),
}


@pytest.mark.parametrize("url", SERVED)
def test_where_requests_go(url: str) -> None:
    config = ModelConfig.model_validate({"provider": "openai", "model": "m", "base_url": url})
    assert config.endpoint("https://usual") == SERVED[url]


def test_where_they_go_by_default() -> None:
    config = ModelConfig.model_validate({"provider": "openai", "model": "m"})
    assert config.endpoint("https://usual/v1") == ("https://usual/v1", {})


SECRET = "hush" + "-hush"


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://{SECRET}/",
        f"{SECRET}/v1",
        f"//{SECRET}/v1",
        f"https:///{SECRET}",
        f"https://u:{SECRET}@h/v1",
        f"https://{SECRET}@h/v1",
        f"https://:{SECRET}@h/v1",
        f"https://h:{SECRET}/v1",
        f"https://h:70000/{SECRET}",
        f"https://h:0/{SECRET}",
        f"https://[::1/{SECRET}",
        f"https://h/v1#{SECRET}",
        f"https://h/v1?key={SECRET}#x",
        f"https://h/v1 {SECRET}",
        f"https://h/v1\n?key={SECRET}",
        f"https://h/\x00{SECRET}",
        f"https://h/v1?key={SECRET}&key=2",
    ],
)
def test_addresses_of_no_use_are_told_without_what_they_hold(url: str, tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    quoted = json.dumps(url)
    path.write_text(f"[agents.x]\nkind = 'openai'\nmodel = 'm'\nbase_url = {quoted}")
    with pytest.raises(ConfigurationError, match=r"\[agents\.x\] base_url: ") as caught:
        read_entries(path, all_kinds())
    assert SECRET not in str(caught.value)


def test_an_answer_leaves_room_for_its_request() -> None:
    with pytest.raises(ValidationError, match="leaves no room"):
        ModelConfig.model_validate(
            {"provider": "openai", "model": "m", "context_tokens": 10, "max_output_tokens": 10}
        )
