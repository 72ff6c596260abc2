from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from app.execution.calls.identity import CallId
from app.journal.queries.taped import TapedCall, written
from app.testing.cassettes import MemoryTape, answered, read
from celery_agents.errors import AgentFailedError, ConfigurationError

MODEL = "model:openai/gpt-5-mini"
KEY = "sk-proj-Zx81kQpL0vN3yTr7Hs2WdJ9c"


def _made(step_id: str, asked: str, answer: Any, name: str = MODEL, agent: str = "a") -> TapedCall:
    identity = CallId.of(step_id, 0, ("", name, asked), 0).identity
    told = {"value": answer, "usage": {"calls": 1, "cost_usd": 0.5}}
    return TapedCall(agent, step_id, name, identity, asked, told)


def _key(step_id: str, asked: str, name: str = MODEL) -> tuple[str, str]:
    return name, CallId.of(step_id, 0, ("", name, asked), 0).key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = [_made("s1", "one", "1"), _made("s2", "one", "1 again"), _made("s1", "two", "2")]
    path = tmp_path / "x.jsonl"
    path.write_text(written(made))
    return path


def test_calls_are_found_by_what_is_asked_in_any_step(file: Path) -> None:
    tape = MemoryTape(file)
    other = str(uuid.uuid4())
    found = [answered(tape, "a", other, _key(other, t), t) for t in ("two", "one", "one", "one")]
    assert [one and one.value for one in found] == ["2", "1", "1 again", "1 again"]
    assert found[0] is not None
    assert found[0].usage.cost_usd == 0.5


@pytest.mark.parametrize(
    ("agent", "name", "asked", "nearest"),
    [
        ("a", MODEL, "twos", "asked 'two'"),
        ("a", MODEL, "ones", "asked 'one'"),
        ("a", "tool", "two", f"{MODEL} of a, asked 'two'"),
        ("b", MODEL, "one", "of a, asked 'one'"),
    ],
)
def test_a_call_that_is_not_there_names_the_nearest(
    file: Path, agent: str, name: str, asked: str, nearest: str
) -> None:
    with pytest.raises(AgentFailedError, match=r"x\.jsonl does not know this call") as raised:
        answered(MemoryTape(file), agent, "s1", _key("s1", asked, name), asked)
    assert nearest in str(raised.value)
    assert f"{name} of {agent}, asked {asked!r}" in str(raised.value)


def test_one_that_is_empty_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(AgentFailedError, match="none at all"):
        answered(MemoryTape(empty), "a", "s", _key("s", "x"), "x")


def test_no_secret_is_in_it() -> None:
    answer = {"text": f"the key is {KEY}", "password": "hunter2hunter2"}
    text = written([_made("s", f"my api_key={KEY}", answer)])
    assert KEY not in text
    assert "hunter2" not in text
    assert json.loads(text)["answer"]["usage"] == {"calls": 1, "cost_usd": 0.5}


SECRET = "swordfish lane"


@pytest.mark.parametrize(
    "value",
    [
        {"password": SECRET},
        {"password": [SECRET, {"old": SECRET}]},
        {"credentials": {"of": {"ada": SECRET}}},
        {"client_secret": {"value": SECRET}},
        {"name": "password", "value": SECRET},
        {"Name": "X-Api-Key", "Value": [SECRET]},
        {"headers": [{"key": "Authorization", "value": f"Bearer {KEY}"}]},
        ["password", SECRET],
        [["api_key", SECRET], ["user", "ada"]],
        ["login", "--password", SECRET, "ada"],
        {"password": {SECRET: 1}},
        {KEY: 1},
        {"token": {"hunter2hunter2": True}},
    ],
)
def test_a_secret_is_hidden_wherever_its_name_stands(value: Any) -> None:
    made = _made("s", "x", value)
    turn = {"role": "tool", "content": json.dumps("x"), "details": value}
    answer = {**made.answer, "turns": [turn]}
    text = written([made._replace(answer=answer, input=value)])
    for secret in (SECRET, "swordfish", KEY, "hunter2"):
        assert secret not in text


@pytest.mark.parametrize("value", [{"pin": 86_753_09}, {"password": 86_753_09}])
def test_a_number_may_be_a_secret(value: Any) -> None:
    assert "8675309" not in written([_made("s", "x", value)])


@pytest.mark.parametrize(
    "value",
    [
        {"total_tokens": 1_234_567, "has_password": True, "token": None},
        {"name": "Ada", "value": "Lovelace"},
        {"code": 200, "key": "colour", "status": "ok"},
        ["name", "password"],
        [["colour", "red"], ["size", "large"]],
        {"password": "required"},
    ],
)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert json.loads(written([_made("s", "x", value)]))["answer"]["value"] == value


@pytest.mark.parametrize("line", ["{}", "no JSON", '{"agent": "a"}', "[]"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ConfigurationError, match=r"odd\.jsonl, line 1 is no call"):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path / "none.jsonl")
