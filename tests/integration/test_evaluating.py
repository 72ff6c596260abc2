from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from celery_agents import Client
from celery_agents.errors import InvalidPayloadError

pytestmark = pytest.mark.databases("none")

EXAMPLES = [{"input": f"text {n}", "expected": f"TEXT {n}"} for n in range(40)]
EXAMPLES[3]["expected"] = "else"


def test_an_agent_on_a_dataset(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in EXAMPLES))
    found = client.evaluate(file, "shout", metrics=["exact", "contains"], timeout=60)
    assert found.metrics["exact"].mean == 39 / 40
    assert [case.id for case in found.cases if not case.scores["exact"]] == ["4"]
    assert found.cases[0].value == "TEXT 0"
    assert found.failed == 0
    assert 0 < found.latency_p50_s <= found.latency_p95_s


def test_two_versions(client: Client) -> None:
    half = lambda value, expected: 0.5 if value == expected else 0.0  # noqa: E731
    about: dict[str, Any] = {"metrics": {"half": half}, "timeout": 60}
    found = client.evaluate(EXAMPLES, "shout", against="bad", **about)
    assert found.differences["half"].better
    assert found.against is not None
    assert (found.against.failed, found.against.metrics["half"].mean) == (40, 0.0)
    assert found.against.cases[0].error is not None
    assert client.evaluate(EXAMPLES, "bad", against="shout", **about).misses({})


def test_a_pattern(client: Client) -> None:
    vote = {"verb": "vote", "voters": ["yes", "yes", "no"]}
    found = client.evaluate([{"input": "?", "expected": "yes"}], vote, timeout=60)
    assert found.cases[0].value == "yes"
    ask = lambda asked: client.ask("shout", asked)  # noqa: E731
    assert client.evaluate(EXAMPLES[:3], ask, timeout=60).metrics["exact"].mean == 1.0


@pytest.mark.parametrize(
    ("dataset", "subject", "metrics", "why"),
    [
        ([], "shout", ["exact"], "needs examples"),
        ([{"expected": 1}], "shout", ["exact"], "Example 1 has no input"),
        ([{"input": 1, "id": "a"}, {"input": 2, "id": "a"}], "shout", ["exact"], "the id 'a'"),
        ("/nowhere.jsonl", "shout", ["exact"], "cannot be read"),
        (EXAMPLES, {"verb": "solve"}, ["exact"], "A subject is one of"),
        (EXAMPLES, "shout", ["odd"], "no metric 'odd'"),
    ],
)
def test_mistakes_are_told(
    client: Client, dataset: Any, subject: Any, metrics: Any, why: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        client.evaluate(dataset, subject, metrics=metrics)
