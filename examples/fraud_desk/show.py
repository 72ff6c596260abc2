"""``./run example``: the fraud desk on a stack of its own, with everything on, and no key.

Payments come as events, each starts one run; models are asked through a router under limits and a
budget; a person (here this program) is asked before a card is blocked; the worker is killed in the
middle; a webhook tells of each case that is closed. In the end it is looked at whether each of it
has happened as it should have.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import signal
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from rich.console import Console
from rich.table import Table

from celery_agents import Client, StreamEvent
from celery_agents.contracts.watching import RunInfo
from celery_agents.errors import AgentsError, ResultTimeoutError
from deploy.local.stack import Stack, fresh_directory, local_stack
from deploy.local.state import exported
from examples.fraud_desk import desk
from examples.fraud_desk.models import REFUSALS, ModelServer
from examples.fraud_desk.receiver import Receiver

HERE = Path(__file__).parent
#: What is waited for takes seconds, and some ten more where a worker was killed.
PATIENCE_S = 90.0
SECRET_NAME = "FRAUD_DESK_WEBHOOK"  # noqa: S105 - the name of a variable

_FIELDS = ("id", "customer", "card", "cents", "country", "home", "for")
_PAYMENTS = [
    ("p-1", "ada", "c-1", 1_250, "CH", "CH", "coffee"),
    ("p-2", "ada", "c-1", 89_900, "XX", "CH", "gift cards"),
    ("p-3", "bob", "c-2", 12_000, "DE", "DE", "shoes"),
    ("p-4", "bob", "c-2", 64_000, "DE", "DE", "a bicycle"),
    ("p-5", "cem", "c-3", 45_000, "XX", "TR", "gift cards"),
    ("p-6", "cem", "c-3", 900, "TR", "TR", "bread"),
]
#: Afterwards: what is remembered of a customer counts.
_LATER = [("p-7", "ada", "c-1", 30_000, "CH", "CH", "shoes")]
EVENTS = len(_PAYMENTS) + len(_LATER)
#: The task of a flow's run.
FLOWS = "agents.flow"
#: The bank's file.
LEDGER = "bank.jsonl"
#: What guards keep from models.
_ADDRESS, _IBAN = "mail me at {}@example.com", "or pay to CH93 0076 2011 6238 5295 7"


#: That of agents.toml.
_BUDGET_USD = 0.5


@dataclass
class Seen:
    """Everything that happened, to be shown and looked at."""

    #: By stream and place: an entry may be read twice, and is one.
    entries: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    #: By run and wish.
    asked: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    killed: int | None = None
    #: Where the bank has its own list of cards that it was told to block.
    ledger: Path = Path()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All cases that were closed."""
        return list(self.entries.values())

    @property
    def payments(self) -> set[str]:
        """The payments of these cases."""
        return {row["payment"] for row in self.rows}

    @property
    def answered(self) -> list[dict[str, Any]]:
        """Questions to a person, with the answers."""
        return list(self.asked.values())

    def blocks_are_those_agreed_to(self) -> bool:
        """Return whether each was carried out, once; by the bank's list, not by the desk's."""
        told = self.ledger.read_text(encoding="utf-8") if self.ledger.exists() else ""
        blocked = [json.loads(line) for line in told.splitlines()]
        agreed = sorted(one["card"] for one in self.answered if one["answer"] is True)
        once = len({one["key"] for one in blocked}) == len(blocked)
        return once and agreed != [] and sorted(one["card"] for one in blocked) == agreed


def main(argv: Sequence[str]) -> int:
    """Run the desk; 0 where all that it shows has happened."""
    parser = argparse.ArgumentParser(prog="./run example", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--stay", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args(argv)
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    with (
        ModelServer() as models,
        Receiver(secret) as receiver,
        fresh_directory() as directory,
        exported(_environment(directory, models, secret)),
        local_stack(("worker", "web"), directory=directory, grace_s=10.0) as stack,
    ):
        seen = _work(stack, models, receiver, directory / LEDGER)
        _print(seen, stack, as_json=options.json, stay=options.stay)
        if options.stay:
            _stay(stack)
        if not all(seen.checks.values()):
            print(f"The worker's last lines:\n{stack.last_lines('worker')}", file=sys.stderr)
            raise SystemExit(1)  # an error to fresh_directory, which keeps the files then
    return 0


def _environment(directory: Path, models: ModelServer, secret: str) -> dict[str, str]:
    """The variables of the stack: the desk's configuration, with addresses of this run."""
    config = directory / "agents.toml"
    text = (HERE / "agents.toml").read_text(encoding="utf-8")
    own = {
        "127.0.0.1:8099": f"127.0.0.1:{models.port}",
        '"python"': json.dumps(sys.executable),
        '"examples/fraud_desk/bank.py"': json.dumps(str(HERE / "bank.py")),
    }
    for there, here in own.items():
        text = text.replace(there, here)
    config.write_text(text, encoding="utf-8")
    return {
        "AGENTS_CONFIG": str(config),
        "AGENTS_MODULES": "examples.fraud_desk.desk",
        "AGENTS_API_AUTH": "none",  # on this machine alone, for as long as it runs
        "AGENTS_PRIVATE_HOSTS": "127.0.0.1",
        "AGENTS_WEBHOOK_SECRETS": SECRET_NAME,
        SECRET_NAME: secret,
        desk.LEDGER: str((directory / LEDGER).resolve()),
    }


def _work(stack: Stack, models: ModelServer, receiver: Receiver, ledger: Path) -> Seen:
    seen = Seen(ledger=ledger)
    with Client(stack.redis_url) as agents:
        run = agents.start.s("examine", webhook={"url": receiver.url, "value": True})
        agents.on("payments/*", kind="made", run=run, key="{data[id]}", name="desk")
        _pay(agents, _PAYMENTS)
        _until_closed(agents, stack, seen, len(_PAYMENTS))
        _pay(agents, _LATER)
        _pay(agents, _LATER)  # the same event again is none
        _until_closed(agents, stack, seen, len(_PAYMENTS) + len(_LATER))
        _wait(lambda: len(receiver.told) >= len(seen.rows))
        _wait(lambda: all(run.finished_at is not None for run in _runs(agents)))
        _look(agents, stack, seen)  # what came since, such as a case that was closed again
        seen.checks = _checks(agents, stack, models, receiver, seen)
    return seen


def _pay(agents: Client, payments: Sequence[tuple[Any, ...]]) -> None:
    for values in payments:
        payment = dict(zip(_FIELDS, values, strict=True))
        payment["note"] = f"{_ADDRESS.format(payment['customer'])}, {_IBAN}"
        told = StreamEvent(kind="made", data=payment, key=payment["id"])
        agents.events.append(f"payments/{payment['customer']}", [told])


def _until_closed(agents: Client, stack: Stack, seen: Seen, cases: int) -> None:
    """Answer what a person is asked, and take down what is decided, until all cases are."""
    until = time.monotonic() + PATIENCE_S
    while len(seen.payments) < cases:
        if time.monotonic() > until:
            raise AgentsError(f"Only {len(seen.payments)} of {cases} cases were closed in time.")
        with suppress(ResultTimeoutError):  # the next worker is not there yet
            _look(agents, stack, seen)
        time.sleep(0.2)


def _look(agents: Client, stack: Stack, seen: Seen) -> None:
    for wish in agents.waiting():
        if seen.killed is None:
            seen.killed = _kill(stack)
        _answer(agents, wish, seen)
    for entry in agents.streams.follow("example", of="cases/"):
        payment = entry.stream.partition("/")[2]
        seen.entries[entry.stream, entry.seq] = {"payment": payment, **entry.data}


def _runs(agents: Client) -> Sequence[RunInfo]:
    """All runs, those that told of an end too."""
    return agents.runs.list(limit=100).runs


def _kill(stack: Stack) -> int | None:
    """Kill the worker while it has work; its supervisor starts another one."""
    pid = stack.worker_pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    return pid


def _answer(agents: Client, wish: Any, seen: Seen) -> None:
    """As the person would: blocks the card, but for one whose customer was called."""
    card = wish.arguments["card"]
    answer: Any = "the customer was called: it was him" if card == "c-3" else True
    agents.runs.approve(wish.run_id, answer, key=wish.key)
    told = {"card": card, "run": wish.run_id, "why": wish.why, "answer": answer}
    seen.asked.setdefault((wish.run_id, wish.key), told)


def _wait(there: Any) -> None:
    until = time.monotonic() + PATIENCE_S
    while not there() and time.monotonic() < until:
        time.sleep(0.1)


def _checks(
    agents: Client, stack: Stack, models: ModelServer, receiver: Receiver, seen: Seen
) -> dict[str, bool]:
    """Say of each thing that was to be shown whether it has happened."""
    asked = [body for bodies in models.asked.values() for body in bodies]
    options = {row["payment"]: row["option"] for row in seen.rows}
    by = {row["payment"]: row["by"] for row in seen.rows}
    told = sorted(one["data"]["value"]["payment"] for one in receiver.told.values())
    budgets = {b.name: b for b in agents.budgets()}
    kept = agents.memory.search("customers", "fraud", scope={"customer": "ada"})
    examined = [run for run in _runs(agents) if run.task == FLOWS]
    return {
        "each event started one run, and the same one again none": len(examined) == EVENTS
        and all(run.state == "succeeded" for run in examined),
        "small payments are nobody's work": by["p-1"] == by["p-6"] == "amount",
        "the panel found the fraud": options["p-2"] == options["p-5"] == "fraud",
        "the router passed the model by that refused": len(models.asked["steady"]) > 0
        and len(models.asked["swift"]) > REFUSALS,
        "the chief decided where the panel was split": by["p-4"] == "supervisor",
        "a person was asked before a card was blocked": {a["card"] for a in seen.answered}
        >= {"c-1", "c-3"},
        "the worker was killed meanwhile, and each case closed once": seen.killed is not None
        and len(seen.payments) == len(seen.rows) == EVENTS,
        "each block that was agreed to was made once": seen.blocks_are_those_agreed_to(),
        "the bank was asked by MCP": any("issued in May" in body for body in asked),
        "what was learned is remembered, and counts later": bool(kept)
        and options["p-7"] == "fraud",
        "no model saw an address or an IBAN": all(
            "@example.com" not in body and "CH93" not in body for body in asked
        ),
        "the budget counts, and holds": 0 < budgets["desk"].spent.usd < _BUDGET_USD,
        "each end was told by a signed webhook": told == sorted(by) and receiver.refused == 0,
        "metrics tell of the desk": 'budget="desk"' in _read(stack, "/metrics"),
        "the page shows the runs": all(
            "block_card" in _read(stack, f"/ui/runs/{one['run']}") for one in seen.answered
        ),
    }


def _read(stack: Stack, path: str) -> str:
    """A page of the API, as text."""
    with urllib.request.urlopen(f"{_address(stack)}{path}", timeout=10) as answer:  # noqa: S310 - ours
        return str(answer.read().decode())


def _address(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.environ['AGENTS_API_PORT']}"


def _print(seen: Seen, stack: Stack, *, as_json: bool, stay: bool) -> None:
    console = Console()
    cases = Table("payment", "decision", "by", "done", title="Cases")
    for row in sorted(seen.rows, key=lambda row: row["payment"]):
        done = row.get("done") or ""
        cases.add_row(row["payment"], row["option"], row["by"], str(done))
    console.print(cases)
    asked = Table("card", "the officer said", "the person answered", title="A person was asked")
    for one in seen.answered:
        asked.add_row(one["card"], str(one["why"]), str(one["answer"]))
    console.print(asked)
    for what, done in seen.checks.items():
        console.print(f"{'[green]yes[/]' if done else '[red]NO [/]'}  {what}")
    if stay:
        console.print(f"\nlook   {_address(stack)}/ui  (until Ctrl-C)")
    else:
        console.print("\n./run example --stay leaves it running, and opens its page")
    sys.stdout.flush()
    if as_json:
        print(json.dumps({"cases": seen.rows, "answered": seen.answered, "checks": seen.checks}))


def _stay(stack: Stack) -> None:
    """Open the page, and wait for Ctrl-C."""
    if sys.stdout.isatty():
        webbrowser.open(f"{_address(stack)}/ui")
    try:
        Event().wait()
    except KeyboardInterrupt:
        print("Stopping.")
