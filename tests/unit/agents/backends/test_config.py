from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agents.backends.config import ModelConfig


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": "acme"},
        {"model": ""},
        {"base_url": "ftp://host/"},
        {"base_url": "https://user:pass@host/v1"},
        {"api_key_env": "sk-abc123def456"},  # a key where its name belongs
        {"temperature": 3},
        {"provider": "anthropic", "temperature": 0.5},
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
