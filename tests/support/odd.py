"""Odd values, with agents that get and give them: ``AGENTS_MODULES=["tests.support.odd"]``.

``app`` is a Celery app of somebody else that does the same.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery_agents import Answer, StepContext, Usage, agent, tool
from celery_agents.errors import PermanentError
from tests.support.sample_app import shop

HALF = "cut \ud83d"
BIG = 10**400


def deep(levels: int) -> Any:
    """Lists in each other."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


#: What arrives as it is, wherever it goes.
CARRIED: dict[str, Any] = {
    "zero byte": "a\0b",
    "half a pair": HALF,
    "both halves apart": "\ude00\ud83d",
    "other planes": "🤖\U0010ffff\ufdd0",
    "key with a zero byte": {"a\0": [{"\0": None}]},
    "big integer": BIG,
    "4,300 digits": -(10**4_299),
    "numbers": [0, -0.0, 5e-324, 1.7976931348623157e308, 2**53 + 1, True],
    "100 levels": deep(100),
    "one of the keys": {"__type__": "datetime"},
    "more than the keys": {"__type__": "uuid", "__value__": {}, "more": 1},
    "texts of types": ["2020-01-01T00:00:00", "NaN", "null", "\\u0000", "'; --"],
    "empty": [{}, [], "", None, {"": ""}],
}
#: What no call takes.
REFUSED: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": [float("inf")],
    "negative infinity": {"a": -float("inf")},
    "4,301 digits": 10**4_300,
    "101 levels": deep(101),
    "900 levels": deep(900),
    "a type of kombu": {"__type__": "datetime", "__value__": "2020-01-01"},
    "a type of nobody": [{"a": {"__type__": "Query", "__value__": 1}}],
    "a type that is none": {"__type__": ["x"], "__value__": None},
    "a date that is none": {"__type__": "date", "__value__": "soon"},
    "datetime": datetime(2020, 1, 1, tzinfo=UTC),
    "date": {"on": date(2020, 1, 1)},
    "uuid": uuid.UUID(int=5),
    "decimal": [Decimal("1.10")],
    "bytes": b"ab",
    "tuple": (1, 2),
    "set": {1},
    "key that is no text": {1: 2},
    "key with half a pair": {"\ud83d": 1},
    "object": object(),
}
#: Of these the ones that plain Celery writes, and what a worker then finds in the message.
WRITTEN = (
    *("nan", "infinity", "negative infinity", "101 levels", "a type of kombu", "a type of nobody"),
    *("a type that is none", "a date that is none", "datetime", "date", "uuid", "decimal", "bytes"),
    "key with half a pair",
)
#: What agents give, and the JSON that it becomes; or ``...`` where it has none.
GIVEN: dict[str, tuple[Any, Any]] = {
    **{name: (value, value) for name, value in CARRIED.items()},
    "datetime": (datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01T00:00:00Z"),
    "uuid": (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    "decimal": ({"sum": Decimal("1.10")}, {"sum": "1.10"}),
    "bytes": (b"ab", "ab"),
    "tuple": ((1, (2,)), [1, [2]]),
    "nan": (float("nan"), ...),
    "infinity": ([float("inf")], ...),
    "4,301 digits": (10**4_300, ...),
    "101 levels": (deep(101), ...),
    "a type of nobody": ({"__type__": "Query", "__value__": 1}, ...),
    "key with half a pair": ({"\ud83d": 1}, ...),
}
#: Of those what a task of another app cannot give: its own JSON refuses or changes it.
NO_TASK = ("4,301 digits", "tuple")


@agent(effects="pure")
def echo(value: Any) -> Any:
    """The input again."""
    return value


@agent
def kept(value: Any) -> Any:
    """The same as a call that is journaled."""
    return value


@agent(effects="pure")
def gives(name: str) -> Any:
    """An odd answer."""
    return GIVEN[name][0]


@agent
def gives_kept(name: str) -> Any:
    """The same as a call that is journaled."""
    return GIVEN[name][0]


@agent(effects="pure")
def yes(_: Any) -> str:
    """A voter."""
    return "yes"


@agent
def fails(told: Any) -> None:
    """An error with odd words and details."""
    raise PermanentError(
        f"no \0 {told!s}", {"nan": float("nan"), "at": datetime.now(UTC), "of": told}
    )


@agent
def says(told: Any) -> None:
    """An error whose details are no object."""
    raise PermanentError("no", told)


@agent(effects="pure")
async def big(size: int, step: StepContext) -> str:
    """A long answer."""
    return "x" * size


@agent(effects="pure")
async def big_call(size: int, step: StepContext) -> Any:
    """A long answer that was paid for, and did something."""

    async def perform(_: str) -> Answer:
        return Answer(value={"all": "x" * size}, usage=Usage(calls=1, cost_usd=0.5))

    return (await step.call("paid", perform)).value


@agent(effects="pure")
async def names_call(name: str, step: StepContext) -> str:
    """A call of that name."""

    async def perform(_: str) -> Answer:
        return Answer(value="done")

    return str((await step.call(name, perform)).value)


@agent(effects="effect", compensation="undo")
def reserve(value: Any) -> Any:
    """Something that can be undone."""
    return {"told": value}


@agent
def undo(done: dict[str, Any]) -> None:
    """Undoes it, and notes what it was told."""
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{[done['input'], done['output']]!a}\n")


@tool(effects="pure")
def cuts(text: str) -> str:
    """Gives back half a character."""
    return HALF + text


@tool(effects="pure")
def floods(size: int) -> str:
    """Gives back much."""
    return "x" * size


app = shop(os.environ.get("REDIS_URL"))


@app.task(name="shop.echo")
def task_echo(value: Any) -> Any:
    """The input again."""
    return value


@app.task(name="shop.gives")
def task_gives(name: str) -> Any:
    """An odd answer."""
    return GIVEN[name][0]
