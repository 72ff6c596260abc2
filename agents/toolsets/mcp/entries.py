"""The fields of a toolset of an MCP server: ``[tools.NAME] kind = "mcp"``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agents.policies.breaker import BreakerPolicy
from agents.toolsets.entries import NamedTools
from celery_agents.agent import Effects
from celery_agents.contracts.base import Contract, HttpUrl, Seconds, SecretName

#: A tool's name at its server, or a pattern of it.
ToolPattern = Annotated[str, Field(min_length=1, max_length=200)]


class McpAuthorisation(Contract):
    """How a server is told who asks; the values are secrets, by their names."""

    #: ``Authorization: Bearer …``.
    bearer_env: SecretName | None = None
    #: Headers with the names of their secrets.
    headers: dict[str, SecretName] = Field(default_factory=dict)
    #: OAuth's client credentials: who asks, whose secret it has, and the authorization server that
    #: gave both, which is the only one that ever sees it.
    client_id: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    secret_env: SecretName | None = None
    issuer: HttpUrl | None = None
    scope: Annotated[str, Field(max_length=1_000)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        parts = (self.client_id, self.secret_env, self.issuer)
        if any(part is not None for part in parts) and None in parts:
            raise ValueError("client_id, secret_env and issuer go together")
        if self.client_id is not None and self.bearer_env is not None:
            raise ValueError("it is either bearer_env, or client_id, secret_env and issuer")
        if self.scope is not None and self.client_id is None:
            raise ValueError("scope goes with client_id")
        return self


class McpTools(NamedTools):
    """Tools of a server: of a program that is started, or of one at a URL."""

    kind: Literal["mcp"]
    #: The program that speaks by its standard input and output, with its arguments.
    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)] | None = None
    #: Variables of the program with the names of their secrets. Of the worker's own it has PATH,
    #: HOME, USER, LOGNAME, SHELL and TERM.
    env: dict[str, SecretName] = Field(default_factory=dict)
    cwd: Path | None = None
    #: Where it speaks HTTP.
    url: HttpUrl | None = None
    auth: McpAuthorisation = McpAuthorisation()
    include: Annotated[tuple[ToolPattern, ...], Field(min_length=1, max_length=200)] = ("*",)
    exclude: Annotated[tuple[ToolPattern, ...], Field(max_length=200)] = ()
    #: Effects by the names at the server or patterns; the last that fits wins, else ``effect``.
    effects: dict[ToolPattern, Effects] = Field(default_factory=dict)
    #: Whether what the server says of its tools' effects is believed where ``effects`` says none.
    trust_hints: bool = False
    connect_timeout_s: Seconds = 30.0
    #: Of one call, anew with each progress that its server tells; and of it in all.
    call_timeout_s: Seconds = 60.0
    call_timeout_max_s: Seconds = 3_600.0
    #: When a server that cannot be reached is left alone for a while.
    breaker: BreakerPolicy = BreakerPolicy(failures=3, open_s=10.0)

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("say either command or url")
        if self.command is None and (self.env or self.cwd is not None):
            raise ValueError("env and cwd go with command")
        if self.url is None and self.auth != McpAuthorisation():
            raise ValueError("auth goes with url; a program gets its secrets by env")
        if self.call_timeout_max_s < self.call_timeout_s:
            raise ValueError("call_timeout_max_s is less than call_timeout_s")
        return self
