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
SigningAlgorithm = Literal["ES256", "ES384", "RS256", "RS384", "PS256", "EdDSA"]


class OnBehalf(Contract):
    """Somebody on whose behalf a client asks, whom an identity provider knows."""

    #: The identity provider's token endpoint, and as whom the client is known there.
    token_url: HttpUrl
    client_id: Annotated[str, Field(min_length=1, max_length=500)]
    #: A file with their ID token, which whoever signs them in keeps fresh.
    token_file: Path


class McpAuthorisation(Contract):
    """How a server is told who asks; the values are secrets, by their names."""

    #: ``Authorization: Bearer …``.
    bearer_env: SecretName | None = None
    #: Headers with the names of their secrets.
    headers: dict[str, SecretName] = Field(default_factory=dict)
    #: A person signs in by ``celery -A app agents mcp login``, and workers ask in their name.
    login: bool = False
    #: OAuth's client: who asks, and the authorization server that it is known to, which is the
    #: only one that ever sees its proof.
    client_id: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    issuer: HttpUrl | None = None
    #: Its proof: a secret; a private key (PEM) that signs; or a file with the token of a workload,
    #: which whoever runs it keeps fresh.
    secret_env: SecretName | None = None
    key_env: SecretName | None = None
    key_algorithm: SigningAlgorithm = "ES256"
    assertion_file: Path | None = None
    #: On whose behalf it asks, beside its secret (cross-app access).
    identity: OnBehalf | None = None
    #: Where a document says who signs in, for authorization servers that read one.
    client_metadata_url: HttpUrl | None = None
    scope: Annotated[str, Field(max_length=1_000)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        proofs = [p for p in (self.secret_env, self.key_env, self.assertion_file) if p is not None]
        if len(proofs) > 1:
            raise ValueError("it is either secret_env, key_env or assertion_file")
        if self.bearer_env is not None and (self.login or self.client_id is not None):
            raise ValueError("it is either bearer_env, login, or client_id with its proof")
        if self.scope is not None and not (self.login or self.client_id is not None):
            raise ValueError("scope goes with login or client_id")
        if self.login:
            self._is_login()
        elif len({self.client_id is None, not proofs, self.issuer is None}) > 1:
            raise ValueError("client_id, its proof (secret_env, say) and issuer go together")
        if self.client_metadata_url is not None and (not self.login or self.client_id is not None):
            raise ValueError("client_metadata_url goes with login, without client_id")
        if self.identity is not None and (self.login or self.secret_env is None):
            raise ValueError("identity goes with client_id, secret_env and issuer")
        return self

    def _is_login(self) -> None:
        if self.key_env is not None or self.assertion_file is not None:
            raise ValueError("a person signs in without key_env and assertion_file")
        if self.client_id is None and (self.secret_env is not None or self.issuer is not None):
            raise ValueError("secret_env and issuer go with client_id")
        if self.secret_env is not None and self.issuer is None:
            raise ValueError("secret_env goes with issuer")


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
    #: What a server that asks for a form in the middle of a call is told: that nobody is there, or
    #: the form's own defaults, where each field that it requires has one.
    forms: Literal["refuse", "defaults"] = "refuse"
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
