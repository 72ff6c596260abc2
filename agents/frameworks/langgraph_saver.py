"""LangGraph's checkpoints, as lines of a journal: one for each checkpoint, value and write."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from agents.current import CURRENT
from agents.frameworks.langgraph_lines import (
    CHECKPOINT,
    VALUE,
    ThreadLines,
    config_of,
    kind_of,
    place_of,
    thread_name,
    value_key,
    write_key,
    writes_kind,
)
from agents.graphs import GraphLine, GraphLines
from celery_agents.errors import ConfigurationError

#: How ids of threads begin that belong to a step, and go with its run.
STEP = "step/"
_RUN_MAX = 155


class AwaitedSaver(BaseCheckpointSaver[str]):
    """The asynchronous methods of a saver, by its synchronous ones in threads."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As :meth:`get_tuple`."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, config: RunnableConfig | None, **about: Any) -> AsyncIterator[Any]:
        """As :meth:`list`."""
        found = self.list(config, **about)
        while (one := await asyncio.to_thread(next, found, None)) is not None:
            yield one

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As :meth:`put`."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As :meth:`put_writes`."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """As :meth:`delete_thread`."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As :meth:`delete_for_runs`."""
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As :meth:`copy_thread`."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As :meth:`prune`."""
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)


class StepSaver(AwaitedSaver):
    """Keeps threads of graphs in the journal of the step in whose code it is used.

    Synchronous methods block, as LangGraph calls them from threads. What another worker goes on
    with is not written any more.
    """

    def get_next_version(self, current: str | None, channel: None) -> str:  # noqa: ARG002 - the base's
        """The version after this one. Of forks each has its own: its second part is random."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - it tells apart, and hides nothing

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """A checkpoint: the one that is named, or the newest of the thread."""
        thread, ns = place_of(config)
        kind = kind_of(CHECKPOINT, ns)
        if id_ := get_checkpoint_id(config):
            found = self._lines().get(thread_name(thread), kind, [id_])
            return self._thread.tuple(found[0]) if found else None
        line = self._lines().newest(thread_name(thread), kind)
        return None if line is None else self._thread.tuple(line)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base's
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, newest first, of a thread, of one place in it, or of all threads."""
        about = (config or {}).get("configurable", {})
        thread, ns = about.get("thread_id"), about.get("checkpoint_ns")
        kind = CHECKPOINT if ns is None else kind_of(CHECKPOINT, ns)
        id_ = get_checkpoint_id(config) if config else None
        until = get_checkpoint_id(before) if before else None
        left = -1 if limit is None else limit
        for line in self._lines().every(None if thread is None else thread_name(thread), kind):
            if left == 0:
                return
            if (id_ and line.key != id_) or (until and line.key >= until):
                continue
            if filter:
                told = self._thread.read(line.data["metadata"])
                if any(told.get(name) != value for name, value in filter.items()):
                    continue
            left -= 1
            yield self._thread.tuple(line)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint, and those values that are new in it, in one transaction."""
        thread, ns = place_of(config)
        told: dict[str, Any] = {**checkpoint}
        values = told.pop("channel_values")
        about = get_checkpoint_metadata(config, metadata)
        run = _run_of(thread)
        lines = [
            GraphLine(
                kind_of(VALUE, ns),
                value_key(channel, version),
                self._thread.kept(values[channel]) if channel in values else {"type": "empty"},
                run,
            )
            for channel, version in new_versions.items()
        ]
        data = {
            "thread": thread,
            "ns": ns,
            "parent": get_checkpoint_id(config),
            "checkpoint": self._thread.kept(told),
            "metadata": self._thread.kept(about),
        }
        of_run = run or str(about.get("run_id") or "")[:_RUN_MAX] or None
        kind = kind_of(CHECKPOINT, ns)
        lines.append(GraphLine(kind, checkpoint["id"], data, of_run))
        self._lines().put(thread_name(thread), lines, anew=[checkpoint["id"]])
        return config_of(thread, ns, checkpoint["id"])

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Keep what a task has written; what is known stays, but for errors and interrupts."""
        thread, ns = place_of(config)
        kind = writes_kind(ns, config["configurable"]["checkpoint_id"])
        lines = []
        for place, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, place)
            about = {"task": task_id, "path": task_path, "index": index, "channel": channel}
            key = write_key(task_id, index)
            lines.append(GraphLine(kind, key, about | self._thread.kept(value), _run_of(thread)))
        special = [line.key for line in lines if line.data["channel"] in WRITES_IDX_MAP]
        self._lines().put(thread_name(thread), lines, anew=special)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread."""
        self._lines().drop(thread_name(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have made, with their writes."""
        for line in self._lines().of_runs(run_ids, CHECKPOINT):
            self._thread.drop(line.data["thread"], line.data["ns"], [line.key])

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all that a thread has into another one."""
        found = self._lines().every(thread_name(source_thread_id), "")
        run = _run_of(target_thread_id)
        copies = [
            line._replace(data={**line.data, "thread": target_thread_id}, run_id=run or line.run_id)
            for line in found
        ]
        if copies:
            self._lines().put(thread_name(target_thread_id), copies)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all of some threads but the newest checkpoint of each place, or all (``delete``).

        What channels of differences are made of stays, back to where one is kept whole.

        Raises:
            ValueError: there is no such strategy.
        """
        if strategy not in {"keep_latest", "delete"}:
            raise ValueError(f"strategy: {strategy!r} is neither keep_latest nor delete")
        for thread in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            places: dict[str, list[GraphLine]] = {}
            for line in self._lines().every(thread_name(thread), CHECKPOINT):
                places.setdefault(line.data["ns"], []).append(line)
            for ns, lines in places.items():
                self._thread.keep_newest(thread, ns, lines)

    def _lines(self) -> GraphLines:
        within = CURRENT.get()
        if within is None:
            raise ConfigurationError("StepSaver keeps threads of steps; elsewhere: JournalSaver.")
        return within.step.graphs

    @property
    def _thread(self) -> ThreadLines:
        return ThreadLines(self._lines(), self.serde)


def _run_of(thread: str) -> str | None:
    """The run with which a thread goes, if it is a step's."""
    within = CURRENT.get()
    return within.step.run_id if within is not None and thread.startswith(STEP) else None
