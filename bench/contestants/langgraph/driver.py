"""LangGraph: the graphs, and the process that runs them."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from bench.asyncio_driver import AsyncioDriver
from bench.driver import Task
from bench.model_client import ask

_CONNECTIONS = 8


class State(TypedDict):
    """The state that goes through a graph."""

    value: int


async def _noop(state: State) -> State:
    return state


async def _wait(state: State) -> State:
    return {"value": await ask(state["value"])}


async def _add(state: State) -> State:
    return {"value": state["value"] + 1}


@task
async def _added(value: int) -> int:
    return value + 1


class Driver(AsyncioDriver):
    """``ainvoke`` with a thread for each run, a bounded number at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = AsyncExitStack()
        self._threads = itertools.count()
        self._slots = asyncio.Semaphore(int(os.environ["BENCH_CONCURRENCY"]))
        self._durability: Any = os.environ["BENCH_DURABILITY"]
        saver = self.run(self._saver(os.environ["DATABASE_URL"]))
        self._graphs = {
            "noop": _line(saver, _noop),
            "wait": _line(saver, _wait),
            "three": _line(saver, _add, _add, _add),
        }
        self._sequence = _sequence(saver)

    async def _saver(self, url: str) -> Any:
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///")
            saver = await self._stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
        else:
            pool = AsyncConnectionPool(
                url.replace("+psycopg2", ""),
                min_size=_CONNECTIONS,
                max_size=_CONNECTIONS,
                open=False,
                kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
            )
            await self._stack.enter_async_context(pool)
            saver = AsyncPostgresSaver(pool)
        await saver.setup()
        return saver

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Run the graph of one node for each value."""
        return list(self.run(self._runs(task, values)))

    def chains(self, values: Sequence[int]) -> list[Any]:
        """Run graphs of three nodes that add one each."""
        return list(self.run(self._runs("three", values)))

    def flow(self, steps: int) -> int:
        """Run a function of the functional API, whose tasks are recorded."""
        config = {"configurable": {"thread_id": str(next(self._threads))}}
        asked = self._sequence.ainvoke(steps, config, durability=self._durability)
        return int(self.run(asked))

    async def _runs(self, graph: str, values: Sequence[int]) -> list[Any]:
        return await asyncio.gather(*(self._run(graph, value) for value in values))

    async def _run(self, name: str, value: int) -> int:
        async with self._slots:
            graph = self._graphs[name]
            config = {"configurable": {"thread_id": str(next(self._threads))}}
            given = {"value": value}
            ended = await graph.ainvoke(given, config, durability=self._durability)
            return int(ended["value"])

    async def aclose(self) -> None:
        """Close the checkpointer and its connections."""
        await self._stack.aclose()


def _line(saver: Any, *nodes: Any) -> Any:
    """A graph of nodes one after another."""
    graph = StateGraph(State)
    names = [f"node_{number}" for number in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        graph.add_node(name, node)
    for before, after in itertools.pairwise([START, *names, END]):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=saver)


def _sequence(saver: Any) -> Any:
    """A function that adds one so many times."""

    @entrypoint(checkpointer=saver)
    async def sequence(steps: int) -> int:
        value = 0
        for _ in range(steps):
            value = await _added(value)
        return value

    return sequence
