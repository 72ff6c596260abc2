"""The fields of toolsets in agents.toml: ``[tools.NAME]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agents.tools.policy import Approve
from celery_agents.contracts.base import Contract

#: ``text.*``, ``data.query_*``: a category, and names in it.
Glob = Annotated[str, Field(pattern=r"^[\w*?\[\]-]+\.[\w*?\[\]-]+$|^\*$", max_length=100)]

#: Tools that are not offered though they are there, by their names without the prefix, with ``*``.
Excluded = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(max_length=100)
]


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


class SearchEngine(Contract):
    """The engine that ``web_search`` asks."""

    engine: Literal["searxng", "brave", "tavily"]
    #: Of SearXNG that of its page; of the others their own, if it is left out.
    url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")] | None = None
    #: The variable with the engine's key; SearXNG has none.
    key_env: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.engine == "searxng" and self.url is None:
            raise ValueError("searxng needs url, that of its page")
        if self.engine != "searxng" and self.key_env is None:
            raise ValueError(f"{self.engine} needs key_env, the variable with its key")
        return self


class BuiltinTools(NamedTools):
    """Tools that come with the service."""

    kind: Literal["builtin"]
    use: Annotated[tuple[Glob, ...], Field(min_length=1, max_length=100)]
    exclude: Annotated[tuple[Glob, ...], Field(max_length=100)] = ()
    #: The folder below which its tools see files; it exists.
    root: Path | None = None
    #: What all files below it may have together.
    quota_bytes: Annotated[int, Field(ge=1)] | None = None
    #: Hosts to which its tools may go, with ``*``.
    hosts: Annotated[tuple[str, ...], Field(min_length=1, max_length=500)] = ("*",)
    #: Secrets that http_request and get_json may send: ``VARIABLE@host``.
    secrets: Annotated[
        tuple[Annotated[str, Field(pattern=r"^\w+@[^@\s/]+$")], ...], Field(max_length=100)
    ] = ()
    search: SearchEngine | None = None

    def secret_hosts(self) -> list[tuple[str, str]]:
        """The variables of secrets, each with the host where it may go."""
        return [(name, host) for name, _, host in (one.partition("@") for one in self.secrets)]


class PythonTools(NamedTools):
    """Python functions and toolsets of one's own, as ``module:name``; ``module:*``: all tools."""

    kind: Literal["python"]
    use: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[\w.]+:[\w*?]+$")], ...],
        Field(min_length=1, max_length=100),
    ]
    exclude: Excluded = ()


class PluginTools(NamedTools):
    """Tools of a plug-in: what it offers under ``tools``."""

    kind: Literal["plugin"]
    #: The plug-in's name: of its distribution, or of its folder's plugin.json.
    plugin: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
    #: Names of what it offers; by default all.
    use: Annotated[tuple[Annotated[str, Field(max_length=60)], ...], Field(max_length=100)] = ()
    exclude: Excluded = ()


class CodeTools(NamedTools):
    """Programs that a model writes over its other tools."""

    kind: Literal["code"]
    #: Tools that programs may call, by patterns of their names; those that the agent has.
    use: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[\w*?\[\]-]+$")], ...],
        Field(min_length=1, max_length=100),
    ] = ("*",)
    #: Seconds that a program computes; what its calls take is not counted.
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    memory_bytes: Annotated[int, Field(ge=1_000_000, le=1_000_000_000)] = 32_000_000
    #: Calls that a program makes.
    max_calls: Annotated[int, Field(ge=1, le=10_000)] = 100
    #: Bytes that it prints.
    print_bytes: Annotated[int, Field(ge=100, le=1_000_000)] = 65_536


class SkillTools(NamedTools):
    """Skills, as folders with a SKILL.md."""

    kind: Literal["skills"]
    #: Folders that have folders of skills, or are skills.
    folders: Annotated[tuple[Path, ...], Field(min_length=1, max_length=50)]


class PlanTools(NamedTools):
    """A plan that a model writes down for those who watch."""

    kind: Literal["plan"]


class CommandTools(NamedTools):
    """Programs of the machine that a model may run."""

    kind: Literal["commands"]
    #: Names of programs, or their paths.
    programs: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
        Field(min_length=1, max_length=50),
    ]
    #: The folder in which they run; it exists.
    root: Path
    timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    memory_bytes: Annotated[int, Field(ge=10_000_000)] = 2_000_000_000
    #: Bytes of each file that one writes.
    file_bytes: Annotated[int, Field(ge=1_000)] = 100_000_000
