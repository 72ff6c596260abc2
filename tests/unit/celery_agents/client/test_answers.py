from __future__ import annotations

import dataclasses
import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from celery_agents.client.client import Client
from celery_agents.contracts.vote import Decision
from celery_agents.errors import BadAnswerError, InvalidPayloadError
from tests.support.stored_results import worker_says
from tests.unit.celery_agents.client.test_run import DECISION

NOWHERE = "redis://127.0.0.1:1/0"


class Line(BaseModel):
    what: str
    price: Decimal


class Invoice(BaseModel):
    model_config = ConfigDict(strict=True)

    due: dt.date
    lines: list[Line]


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Opaque:
    """Of which pydantic knows nothing."""


class Place(TypedDict):
    name: str


@pytest.mark.parametrize(
    ("answer", "told", "value"),
    [
        (
            Invoice,
            {"due": "2030-01-02", "lines": [{"what": "tea", "price": "1.5"}]},
            Invoice(due=dt.date(2030, 1, 2), lines=[Line(what="tea", price=Decimal("1.5"))]),
        ),
        (Point, {"x": 1}, Point(1.0)),
        (Place, {"name": "here"}, Place(name="here")),
        (list[int], [1, 2], [1, 2]),
        (int, 7, 7),
        (Point | Place, {"name": "here"}, Place(name="here")),
        (list[Point | int], [{"x": 1}, 2], [Point(1.0), 2]),
        (Point | None, None, None),
    ],
)
def test_a_value_of_the_type_that_was_asked_for(
    client: Client, answer: Any, told: Any, value: Any
) -> None:
    for run in (client.ask("a", 1, answer=answer), client.fallback(["a"], 1, answer=answer)):
        worker_says(client, run.id, told)
        found = run.get(timeout=5)
        assert (found, type(found)) == (value, type(value))
        assert run.message is not None
        schema = run.message.kwargs["answer_schema"]
        assert schema == TypeAdapter(answer).json_schema()
        assert client.runs.handle(run.id, answer).get(timeout=5) == value
        assert client.runs.handle(run.id).get(timeout=5) == told


def test_many_and_collected(client: Client) -> None:
    runs = client.ask.many("a", range(2), answer=Point)
    for n, run in enumerate(runs):
        worker_says(client, run.id, {"x": n})
    assert client.runs.collect(runs, timeout=5) == [Point(0.0), Point(1.0)]


def test_a_vote_by_its_id(client: Client) -> None:
    worker_says(client, "r", DECISION)
    assert client.runs.handle("r", Decision).get(timeout=5).option == "yes"


def test_an_answer_that_is_not_of_the_type(client: Client) -> None:
    """The value is not told: it may hold what must not be shown."""
    run = client.ask("a", 1, answer=Invoice)
    worker_says(client, run.id, {"due": "hunter2", "lines": [{"what": "tea"}]})
    with pytest.raises(BadAnswerError, match=r"no Invoice: due: .*lines\.0\.price: ") as error:
        run.get(timeout=5)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (Point | Place, "Point | Place"),
        (list[Point], "list[Point]"),
        (int, "int"),
    ],
)
def test_the_type_is_named_without_its_modules(client: Client, answer: Any, named: str) -> None:
    run = client.ask("a", 1, answer=answer)
    worker_says(client, run.id, "?")
    with pytest.raises(BadAnswerError, match=f"no {re.escape(named)}: "):
        run.get(timeout=5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"answer": Opaque}, "answer: it is no type"),
        ({"answer": {"type": "object"}}, "answer: it is no type"),
        ({"answer": Point, "answer_schema": {}}, "give one of them"),
        ({"answer_schema": Point}, "give a type as answer="),
    ],
)
def test_what_is_no_type_for_an_answer(options: dict[str, Any], told: str) -> None:
    client = Client(NOWHERE)
    for call in (client.ask, client.ask.s):
        with pytest.raises(InvalidPayloadError, match=told):
            call("a", 1, **options)


def test_a_signature_asks_for_the_schema() -> None:
    made = Client(NOWHERE).ask.s("a", answer=Point)
    assert made.kwargs["answer_schema"]["required"] == ["x"]


@pytest.mark.parametrize("verb", ["vote", "gather", "map"])
def test_verbs_whose_values_have_a_type_take_none(verb: str) -> None:
    call: Any = getattr(Client(NOWHERE), verb)
    with pytest.raises(InvalidPayloadError, match="answer: Extra inputs"):
        call(["a"] if verb != "map" else "a", [1], answer=Point)
