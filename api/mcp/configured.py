"""Prompts and resources of the configuration: ``[mcp.prompts.NAME]`` and ``[mcp.resources.NAME]``.

[mcp.prompts.summary]
description = "A summary of a ticket."
arguments = { ticket = { description = "Its text." }, tone = { values = ["dry", "kind"] } }
text = "Sum this ticket up, in a {tone} tone: {ticket}"

[mcp.resources.handbook]
uri = "docs://handbook"
file = "handbook.md"

Places like ``{ticket}`` are filled with what a client gives, in one pass: what it gives has none.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import Field, ValidationError, model_validator

from agents.catalog.loading import read_tables
from celery_agents.contracts.base import Contract, JsonValue, Name, mistakes
from celery_agents.errors import ConfigurationError

_PLACE = re.compile(r"\{(\w+)\}")
#: Bytes of a file that is told, and characters of what a client fills a place with.
FILE_MAX, FILLED_MAX = 4_000_000, 100_000
#: Characters of an address.
ADDRESS_MAX = 1_000
_KEYS = frozenset({"stream_s", "prompts", "resources", "flows"})
_Text = Annotated[str, Field(max_length=FILE_MAX)]


class PromptArgument(Contract):
    """An argument of a prompt."""

    description: str = ""
    required: bool = True
    #: Those that a client is told of while somebody types.
    values: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()


class PromptMessage(Contract):
    """A message of a prompt; ``content`` is a block as the protocol has it."""

    role: Literal["user", "assistant"] = "user"
    text: _Text | None = None
    content: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.text is None) == (self.content is None):
            raise ValueError("give one of text and content")
        return self


class ConfiguredPrompt(Contract):
    """A prompt: a text, a file, several messages, or what a tool answers."""

    description: str = ""
    arguments: dict[Name, PromptArgument] = Field(default_factory=dict)
    text: _Text | None = None
    file: Path | None = None
    messages: Annotated[tuple[PromptMessage, ...], Field(max_length=100)] = ()
    #: Called with the arguments: it gives the text, or the messages.
    tool: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_one(self, "text", "file", "messages", "tool")
        return self

    def filled(self, given: Mapping[str, str]) -> list[dict[str, Any]]:
        """Its messages."""
        told = self.messages or (PromptMessage(text=self.text or ""),)
        return [
            {"role": one.role, "content": one.content and filled(one.content, given)}
            if one.content
            else {"role": one.role, "content": {"type": "text", "text": filled(one.text, given)}}
            for one in told
        ]


class ConfiguredResource(Contract):
    """A resource, or many of one form: its address has places then."""

    uri: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S*$", max_length=ADDRESS_MAX)]
    description: str = ""
    mime_type: str = "text/plain"
    text: _Text | None = None
    file: Path | None = None
    #: Base64 of what is no text.
    blob: _Text | None = None
    #: Called with what stands at the places.
    tool: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.uri.startswith(("run://", "agent://", "memory://")):
            raise ValueError("that scheme is the service's own")
        check_one(self, "text", "file", "blob", "tool")
        places = _PLACE.findall(self.uri)
        if len(set(places)) < len(places) or not all(map(str.isidentifier, places)):
            raise ValueError("each of its places has a name of its own, like {id}")
        return self

    @property
    def is_template(self) -> bool:
        """True of one that stands for many."""
        return bool(_PLACE.search(self.uri))

    def given(self, uri: str) -> dict[str, str] | None:
        """The values at the places of an address; None: it is none of this form."""
        parts = _PLACE.split(self.uri)
        form = "".join(
            f"(?P<{part}>[^/?#]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)
        )
        found = re.fullmatch(form, uri)
        return None if found is None else {n: unquote(v) for n, v in found.groupdict().items()}


@dataclass(frozen=True, slots=True)
class Configured:
    """All of a configuration."""

    prompts: Mapping[str, ConfiguredPrompt] = field(default_factory=dict)
    resources: Mapping[str, ConfiguredResource] = field(default_factory=dict)
    #: Seconds for which a stream of a call is held, where its client can come back; None: as long
    #: as the call itself.
    stream_s: float | None = None

    def resource(self, uri: str) -> tuple[ConfiguredResource, dict[str, str]] | None:
        """The resource of an address, and what stands at its places."""
        if len(uri) > ADDRESS_MAX:  # else the time would grow by the square, with two places
            return None
        for one in self.resources.values():
            if (given := one.given(uri)) is not None:
                return one, given
        return None


def filled(told: Any, given: Mapping[str, str]) -> Any:
    """A value whose texts have their places filled; those of no argument stay as they are."""
    match told:
        case str():
            return _PLACE.sub(lambda found: given.get(found[1], found[0]), told)
        case dict():
            return {key: filled(one, given) for key, one in told.items()}
        case list():
            return [filled(one, given) for one in told]
    return told


def read_configured(config: Path | None) -> Configured:
    """The prompts and resources of a file; of none, none.

    Raises:
        ConfigurationError: the file cannot be read, or one is not right; it names the field.
    """
    if config is None:
        return Configured()
    table = read_tables(config).get("mcp", {})
    if not isinstance(table, dict) or table.keys() - _KEYS:
        text = "[mcp] has stream_s, [mcp.prompts.NAME], [mcp.resources.NAME], [mcp.flows.NAME]"
        raise ConfigurationError(f"{config}: {text}.")
    stream_s = table.get("stream_s")
    if stream_s is not None and not (isinstance(stream_s, int | float) and stream_s >= 1):
        raise ConfigurationError(f"{config}: [mcp] stream_s is a number of seconds, from 1 on.")
    return Configured(
        _read(config, "prompts", table, ConfiguredPrompt),
        _read(config, "resources", table, ConfiguredResource),
        stream_s,
    )


def _read(config: Path, section: str, table: Any, kind: type[Any]) -> dict[str, Any]:
    told, made = table.get(section, {}), {}
    if not isinstance(told, dict):
        raise ConfigurationError(f"{config}: {section} are tables like [mcp.{section}.name].")
    for name, about in told.items():
        try:
            made[name] = _with_file(config, kind.model_validate(about))
        except ValidationError as error:
            place, why = mistakes(error)[0]
            raise ConfigurationError(f"{config}: [mcp.{section}.{name}] {place}: {why}") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigurationError(f"{config}: [mcp.{section}.{name}] file: {why}") from None
    return made


def _with_file(config: Path, entry: Any) -> Any:
    """The entry with its file's content, which is read once."""
    if entry.file is None:
        return entry
    data = (config.parent / entry.file).read_bytes()
    if len(data) > FILE_MAX:
        raise ValueError(f"it has more than {FILE_MAX:,} bytes")
    try:
        return entry.model_copy(update={"text": data.decode()})
    except UnicodeDecodeError:
        if not isinstance(entry, ConfiguredResource):
            raise
        return entry.model_copy(update={"blob": base64.b64encode(data).decode()})


def check_one(entry: Any, *names: str) -> None:
    """Refuse an entry that has none of these, or several.

    Raises:
        ValueError: it has.
    """
    if sum(bool(getattr(entry, name)) for name in names) != 1:
        raise ValueError(f"give one of {', '.join(names)}")
