"""The fields of a toolset of an HTTP service: ``[tools.NAME] kind = "openapi"``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agents.tools.policy import Approve
from agents.toolsets.entries import NamedTools
from celery_agents.contracts.base import Contract, HttpUrl, Seconds, SecretName

#: ``GET /repos/**``.
Route = Annotated[str, Field(pattern=r"^([A-Za-z]+|\*) /\S*$", max_length=500)]


class Authorisation(Contract):
    """How a service is told who asks; the values are secrets, by their names."""

    #: ``Authorization: Bearer …``.
    bearer_env: SecretName | None = None
    #: ``Authorization: Basic …``, of this user.
    user: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\s]+$")] | None = None
    password_env: SecretName | None = None
    #: Headers, parameters of the query, and cookies, with the names of their secrets.
    headers: dict[str, SecretName] = Field(default_factory=dict)
    query: dict[str, SecretName] = Field(default_factory=dict)
    cookies: dict[str, SecretName] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.user is None) != (self.password_env is None):
            raise ValueError("user and password_env go together")
        if self.user is not None and self.bearer_env is not None:
            raise ValueError("it is either bearer_env, or user and password_env")
        return self


class Paging(Contract):
    """How a long list goes on. Without ``field`` by the header ``Link: …; rel="next"``."""

    #: Paging that one call may read.
    most: Annotated[int, Field(ge=1, le=100)] = 10
    #: Where an answer has the mark of its next page: ``next_page_token``, ``meta.next``.
    field: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=200)] | None = None
    #: The parameter of the query that takes this mark.
    parameter: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    #: Where an answer has its list; None: it is one.
    items: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=200)] | None = None

    @model_validator(mode="after")
    def _names_both(self) -> Self:
        if (self.field is None) != (self.parameter is None):
            raise ValueError("field and parameter go together")
        return self


class OpenApiTools(NamedTools):
    """Operations of an HTTP service."""

    kind: Literal["openapi"]
    #: A file, or an https URL with its ``sha256``.
    spec: Annotated[str, Field(min_length=1, max_length=2_000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    #: Where the service is, if not at its description's first server.
    server: HttpUrl | None = None
    include: Annotated[tuple[Route, ...], Field(max_length=200)] = ()
    exclude: Annotated[tuple[Route, ...], Field(max_length=200)] = ()
    auth: Authorisation = Authorisation()
    pages: Paging | None = None
    #: Of one request.
    request_timeout_s: Seconds = 30.0
    #: More than this is not read of one answer.
    max_response_bytes: Annotated[int, Field(ge=1_000, le=64 * 1024 * 1024)] = 4 * 1024 * 1024
    #: Tools, patterns of their names, or routes (``POST /**``), with whether a person is asked.
    approve: dict[str, Approve] = Field(default_factory=dict)
