"""``./run example``: all that it shows has happened, and it says so where something has not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy.local import __main__ as launcher
from deploy.local.state import ROOT
from examples.fraud_desk import desk, models, receiver, show
from tests.support.drawn import is_full
from tests.support.launched import fork_services

pytestmark = pytest.mark.databases("none")

#: Above what it takes on a machine that is busy with other tests.
LONG_S = 300


def shown_by_the_command() -> str:
    """What ``./run example --json`` prints."""
    names = ("PATH", "HOME", "TMPDIR", "LANG")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    argv = [sys.executable, "-P", "-m", "deploy.local", "example", "--json"]
    done = subprocess.run(
        argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.timeout(LONG_S + 10)
def test_all_that_it_shows_has_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command in full; else its launcher stands in this process, and starts forks."""
    if is_full():
        printed = shown_by_the_command()
    else:
        fork_services(monkeypatch)
        monkeypatch.setenv("COLUMNS", "120")
        assert launcher.example(["--json"]) == 0
        printed = capsys.readouterr().out
    told = json.loads(printed.splitlines()[-1])
    assert [what for what, happened in told["checks"].items() if not happened] == []
    assert len(told["checks"]) == len(re.findall(r"^yes  ", printed, re.MULTILINE))
    cases = {case["payment"]: (case["option"], case["by"]) for case in told["cases"]}
    assert cases == {
        "p-1": ("fine", "amount"),
        "p-2": ("fraud", "rule"),
        "p-3": ("fine", "rule"),
        "p-4": ("fine", "supervisor"),
        "p-5": ("fraud", "rule"),
        "p-6": ("fine", "amount"),
        "p-7": ("fraud", "rule"),
    }
    answers = sorted((one["card"], one["answer"] is True) for one in told["answered"])
    assert answers == [("c-1", True), ("c-1", True), ("c-3", False)]


def asked(*cards: str) -> dict[tuple[str, str], dict[str, Any]]:
    """As people answered: of c-3 the customer was called."""
    return {
        (str(n), "k"): {"card": card, "answer": card != "c-3" or "it was him"}
        for n, card in enumerate(cards)
    }


@pytest.mark.parametrize(
    ("blocked", "right"),
    [
        ([("c-1", "a"), ("c-1", "b")], True),
        ([("c-1", "a"), ("c-1", "a")], False),  # one call, made twice
        ([("c-1", "a"), ("c-1", "b"), ("c-1", "c")], False),
        ([("c-1", "a")], False),
        ([("c-1", "a"), ("c-3", "b")], False),
        ([], False),
    ],
)
def test_blocks_are_counted_at_the_bank(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blocked: list[tuple[str, str]],
    right: bool,
) -> None:
    monkeypatch.setenv(desk.LEDGER, str(tmp_path / "bank"))
    for card, key in blocked:
        desk.tell_bank(card, key)
    seen = show.Seen(asked=asked("c-1", "c-3", "c-1"), ledger=tmp_path / "bank")
    assert seen.blocks_are_those_agreed_to() is right


def test_a_case_that_was_closed_twice_is_seen() -> None:
    case = {"payment": "p-1", "option": "fine"}
    seen = show.Seen(entries={("cases/p-1", 0): case, ("cases/p-1", 1): case})
    assert (len(seen.payments), len(seen.rows)) == (1, 2)


def test_the_page_names_what_there_is() -> None:
    page = (ROOT / "docs" / "fraud-desk.md").read_text(encoding="utf-8")
    config = (show.HERE / "agents.toml").read_text(encoding="utf-8")
    tables = {f"[{s}.{n}]" for s, named in tomllib.loads(config).items() for n in named}
    assert set(re.findall(r"`(\[\w+\.\w+\])`", page)) <= tables
    assert tomllib.loads(config)["budgets"]["desk"]["usd"] == show._BUDGET_USD


def test_the_receiver_refuses_what_is_not_signed() -> None:
    with receiver.Receiver("whsec_c2VjcmV0") as there:
        head = {"webhook-id": "1", "webhook-timestamp": "2", "webhook-signature": "v1,AAAA"}
        assert there.take(head, b"{}") == 401
        assert (there.told, there.refused) == ({}, 1)


def test_the_cheapest_model_refuses_at_first() -> None:
    asked: Any = json.dumps({"messages": [{"role": "user", "content": "a gift card"}]})
    with models.ModelServer() as server:
        said = [server.answer("swift", asked)[0] for _ in range(models.REFUSALS + 1)]
        assert said == [429] * models.REFUSALS + [200]
        _, answer = server.answer("steady", asked)
    assert json.loads(answer["choices"][0]["message"]["content"])["option"] == "fraud"
