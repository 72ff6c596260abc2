"""How lines of a thread are named, and what stands in them."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, writes_sort_key
from langgraph.checkpoint.serde.base import SerializerProtocol

from agents.graphs import GraphLine, GraphLines
from agents.values import digest

CHECKPOINT, VALUE = "checkpoint/", "value/"
_WRITE = "write/"
#: Of a digest: a kind of lines has forty characters.
_DIGITS, _WRITE_DIGITS = 24, 32
#: Longer names of threads are kept as their digest.
_NAME_MAX = 150
_COUNTERS = "counters_since_delta_snapshot"


def place_of(config: RunnableConfig) -> tuple[str, str]:
    """The thread, and the place in it: that of the graph, or of one within it."""
    about = config["configurable"]
    return about["thread_id"], about.get("checkpoint_ns") or ""


def config_of(thread: str, ns: str, id_: str) -> RunnableConfig:
    """How LangGraph names a checkpoint."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id_}}


def thread_name(thread: str) -> str:
    """The name of a thread among streams; those of steps have one part more."""
    kind, slash, name = thread.partition("/")
    if (kind, slash) != ("step", "/"):
        kind, name = "thread", thread
    quoted = quote(name, safe="")
    return f"{kind}/{quoted if len(quoted) <= _NAME_MAX else digest(name)}"


def kind_of(what: str, ns: str) -> str:
    """The kind of the lines of a place."""
    return what + digest(ns)[:_DIGITS]


def writes_kind(ns: str, id_: str) -> str:
    """The kind of the lines that tell what was written upon a checkpoint."""
    return _WRITE + digest([ns, id_])[:_WRITE_DIGITS]


def value_key(channel: str, version: Any) -> str:
    """The key of a value."""
    return digest([channel, str(version)])


def write_key(task: str, index: int) -> str:
    """The key of a write."""
    return digest([task, index])


class ThreadLines:
    """Reads and writes what stands in lines."""

    def __init__(self, lines: GraphLines, serde: SerializerProtocol) -> None:
        self._lines = lines
        self._serde = serde

    def kept(self, value: Any) -> dict[str, Any]:
        """A value as a line has it."""
        kind, content = self._serde.dumps_typed(value)
        return {"type": kind, "base64": base64.b64encode(content).decode()}

    def read(self, kept: dict[str, Any]) -> Any:
        """A value of a line."""
        return self._serde.loads_typed((kept["type"], base64.b64decode(kept["base64"])))

    def tuple(self, line: GraphLine) -> CheckpointTuple:
        """The checkpoint of a line, with its values and what was written upon it."""
        thread, ns, parent = (line.data[name] for name in ("thread", "ns", "parent"))
        checkpoint = self.read(line.data["checkpoint"])
        checkpoint["channel_values"] = self._values(thread, ns, checkpoint["channel_versions"])
        written = self._lines.get(thread_name(thread), writes_kind(ns, line.key))
        written.sort(key=lambda w: writes_sort_key(*(w.data[n] for n in ("path", "task", "index"))))
        return CheckpointTuple(
            config_of(thread, ns, line.key),
            checkpoint,
            self.read(line.data["metadata"]),
            config_of(thread, ns, parent) if parent else None,
            [(w.data["task"], w.data["channel"], self.read(w.data)) for w in written],
        )

    def _values(self, thread: str, ns: str, versions: dict[str, Any]) -> dict[str, Any]:
        wanted = {value_key(channel, version): channel for channel, version in versions.items()}
        if not wanted:
            return {}
        found = self._lines.get(thread_name(thread), kind_of(VALUE, ns), wanted)
        told = {line.key: line.data for line in found if line.data["type"] != "empty"}
        return {channel: self.read(told[key]) for key, channel in wanted.items() if key in told}

    def drop(self, thread: str, ns: str, ids: Collection[str]) -> None:
        """Delete checkpoints, and what was written upon them."""
        name = thread_name(thread)
        self._lines.drop(name, kind_of(CHECKPOINT, ns), ids)
        for id_ in ids:
            self._lines.drop(name, writes_kind(ns, id_))

    def keep_newest(self, thread: str, ns: str, lines: Sequence[GraphLine]) -> None:
        """Delete what the first of these checkpoints, the newest, does not need."""
        by_id = {line.key: line for line in lines}
        newest, used = lines[0], set[str]()
        # A channel of differences is what was written upon those before, back to a whole one.
        missing = set(self.read(newest.data["metadata"]).get(_COUNTERS) or ())
        line: GraphLine | None = newest
        while line is not None:
            del by_id[line.key]
            versions = self.read(line.data["checkpoint"])["channel_versions"]
            used |= {value_key(channel, version) for channel, version in versions.items()}
            missing -= self._values(thread, ns, versions).keys()
            line = by_id.get(line.data["parent"]) if missing else None
        self.drop(thread, ns, by_id)
        values = self._lines.get(thread_name(thread), kind_of(VALUE, ns))
        unused = [value.key for value in values if value.key not in used]
        self._lines.drop(thread_name(thread), kind_of(VALUE, ns), unused)
