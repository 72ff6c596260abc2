"""The fields of toolsets in agents.toml: ``[tools.NAME]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from agents.tools.policy import Approve
from celery_agents.contracts.base import Contract

#: ``text.*``, ``data.query_*``: a category, and names in it.
Glob = Annotated[str, Field(pattern=r"^[\w*?\[\]-]+\.[\w*?\[\]-]+$|^\*$", max_length=100)]


class NamedTools(Contract):
    """The fields that each toolset has."""

    kind: str
    #: Stands before each of its tools' names.
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,30}$")] = ""
    #: Tools, or patterns of their names, about which a person is asked before each call, or never;
    #: the last that fits wins. An agent's own ``approve`` wins over it.
    approve: dict[str, Approve] = Field(default_factory=dict)
    #: The file with the digests of its tools; one that is another than there is not offered.
    pin: Path | None = None


class BuiltinTools(NamedTools):
    """Tools that come with the service."""

    kind: Literal["builtin"]
    use: Annotated[tuple[Glob, ...], Field(min_length=1, max_length=100)]
    without: Annotated[tuple[Glob, ...], Field(max_length=100)] = ()
    #: The folder below which its tools see files; it exists.
    root: Path | None = None
    #: What all files below it may have together.
    quota_bytes: Annotated[int, Field(ge=1)] | None = None


class PythonTools(NamedTools):
    """Python functions and toolsets of one's own, as ``module:name``; ``module:*``: all tools."""

    kind: Literal["python"]
    use: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[\w.]+:[\w*?]+$")], ...],
        Field(min_length=1, max_length=100),
    ]
