"""Prompts and resources of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from api.mcp.configured import Configured, ConfiguredPrompt, ConfiguredResource, read_configured
from api.mcp.prompts import messages_of, prompt_of, prompts_of
from celery_agents.errors import ConfigurationError


def read(folder: Path, text: str) -> Configured:
    path = folder / "agents.toml"
    path.write_text(text)
    return read_configured(path)


def test_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Hello, {name}!")
    (tmp_path / "a.png").write_bytes(b"\xff\xd8")
    found = read(
        tmp_path,
        '[mcp.prompts.hello]\nfile = "a.md"\narguments = {name = {}}\n'
        '[mcp.resources.picture]\nuri = "p://a"\nfile = "a.png"\nmime_type = "image/png"\n'
        '[mcp.resources.order]\nuri = "order://{number}/line/{line}"\ntool = "find"\n',
    )
    prompt, arguments = prompt_of(found, "hello", {"name": "{name}"})
    told = messages_of(prompt, {"messages": prompt.filled(arguments)}).messages
    assert [one.content.text for one in told] == ["Hello, {name}!"]  # type: ignore[union-attr]
    assert found.resources["picture"].blob == "/9g="
    resource, places = found.resource("order://a%20b/line/7") or (None, {})
    assert resource is found.resources["order"]
    assert places == {"number": "a b", "line": "7"}
    assert found.resource("order://a/b/line/7") is None
    assert read_configured(None) == Configured()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mcp = 1", r"\[mcp\] has"),
        ("[mcp.x]\ny = 1", r"\[mcp\] has"),
        ("[mcp]\nprompts = 1", "prompts are tables"),
        ("[mcp.prompts.a]\ntxt = 'x'", r"\[mcp.prompts.a\] txt"),
        ("[mcp.prompts.a]", "give one of text, file, messages, tool"),
        ("[mcp.prompts.a]\ntext = 'x'\ntool = 'y'", "give one of"),
        ("[mcp.prompts.a]\nfile = 'gone'", "file: No such file"),
        ("[mcp.resources.a]\nuri = 'x'\ntext = 'x'", "uri"),
        ("[mcp.resources.a]\nuri = 'run://x'\ntext = 'x'", "the service's own"),
        ("[mcp.resources.a]\nuri = 'a://{b}/{b}'\ntext = 'x'", "a name of its own"),
        ("[mcp.resources.a]\nuri = 'a://{1}'\ntext = 'x'", "a name of its own"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read(tmp_path, text)


@given(st.text(), st.text())
def test_what_is_given_is_not_filled_again(one: str, other: str) -> None:
    prompt = ConfiguredPrompt.model_validate(
        {"text": "{a}|{b}|{c}", "arguments": {"a": {}, "b": {}}}
    )
    (message,) = prompt.filled({"a": one, "b": other})
    assert message["content"]["text"] == f"{one}|{other}|{{c}}"


@given(st.text(max_size=200))
def test_an_address_fits_or_does_not(uri: str) -> None:
    resource = ConfiguredResource(uri="a://{id}/b", text="x")
    assert resource.given(uri) is None or uri.startswith("a://")


def test_a_long_address_is_none() -> None:
    """With two places the time to look grows by its square."""
    found = Configured(resources={"a": ConfiguredResource(uri="a://{b}-{c}", text="x")})
    assert found.resource("a://x-y") is not None
    assert found.resource(f"a://x-{'y' * 1_000}") is None


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("none", {}, "Unknown prompt"),
        ("p", {}, "'a' is missing"),
        ("p", {"a": "x", "z": "x"}, "no argument 'z'"),
        ("p", {"a": "x" * 100_001}, "above 100,000"),
    ],
)
def test_what_is_asked_wrongly(name: str, arguments: dict[str, str], why: str) -> None:
    table: Any = {"text": "{a}", "arguments": {"a": {}}}
    found = Configured({"p": ConfiguredPrompt.model_validate(table)})
    with pytest.raises(MCPError, match=why):
        prompt_of(found, name, arguments)


def test_they_come_in_pages() -> None:
    found = Configured({f"p{n:03}": ConfiguredPrompt(text="x") for n in range(250)})
    first = prompts_of(found, None)
    second = prompts_of(found, first.next_cursor)
    names = [prompt.name for prompt in (*first.prompts, *second.prompts)]
    assert names == sorted(found.prompts)
    assert second.next_cursor is None
