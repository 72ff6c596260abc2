"""The demo's main job: the language of each message of a support inbox, by vote.

Run by ``./run demo``, which starts a broker, a journal and a worker for it. Every message is a
majority vote of the panel; where the panel is split, the fallback chain decides: the supervisor,
and behind it the detectors.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from app.journal.queries import reads
from app.journal.schema.engine import connect, reading
from app.journal.schema.transactions import in_transaction
from celery_agents import Client, Decision, DecisionRun, RetryPolicy
from celery_agents.errors import ConfigurationError, NoDecisionError
from examples.triage.detectors import LANGUAGES, PANEL
from examples.triage.report import (
    Message,
    Row,
    Work,
    read_inbox,
    summary_json,
    summary_table,
    votes_table,
)

HERE = Path(__file__).parent
INBOX = HERE.parent / "inbox.tsv"
#: A run that takes longer is given up by the demo: a worker that was killed needs some 15 s.
PATIENCE_S = 180.0
#: Retries come soon, so that the demo shows them without waiting for them.
RETRY = RetryPolicy(max_attempts=5, base_delay_s=0.1, max_delay_s=1.0)
#: The variable that holds each model provider's key.
KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GEMINI_API_KEY",
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=INBOX, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--models", action="store_true", help="let language models vote")
    return parser.parse_args(argv)


def agents_config(argv: Sequence[str]) -> Path:
    """The agents that the demo's worker has to offer."""
    return HERE / ("models.toml" if arguments(argv).models else "agents.toml")


def main(argv: Sequence[str]) -> int:
    """Vote on every message; print the table, the summary, and with ``--json`` a line of JSON."""
    options = arguments(argv)
    messages = read_inbox(options.file)
    voters = _models() if options.models else list(PANEL)
    began = time.monotonic()
    with Client() as client:
        runs = client.vote.many(
            voters,
            [m.text for m in messages],
            choices=sorted(LANGUAGES) if options.models else None,
            rule="majority",
            stop="none",  # all voters are heard: the table compares them
            escalate={"kind": "supervisor", "agent": "supervisor", "backups": ["most_named"]},
            retry=RETRY,
        )
        rows = _collect(messages, runs)
    seconds = time.monotonic() - began
    _print(rows, _work(rows, seconds), as_json=options.json)
    return 0


def _models() -> list[str]:
    """The voters whose key is set: several models, or one that is asked three times."""
    found = [name for name, key in KEYS.items() if os.environ.get(key)]
    if not found:
        raise ConfigurationError(
            f"--models needs a key in the environment: {', '.join(KEYS.values())}."
        )
    return found if len(found) > 2 else found * 3  # noqa: PLR2004 - two cannot have a majority


def _collect(messages: Sequence[Message], runs: Sequence[DecisionRun]) -> list[Row]:
    """Wait for the decisions, with progress on standard error."""
    rows: list[Row] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{len(runs)} votes", total=len(runs))
        for message, run in zip(messages, runs, strict=True):
            rows.append(_row(message, run))
            progress.advance(bar)
    return rows


def _row(message: Message, run: DecisionRun) -> Row:
    try:
        decision: Decision = run.get(timeout=PATIENCE_S)
    except NoDecisionError as error:
        decision = Decision.model_validate(error.details["decision"])
    return Row(
        message=message,
        ballots={b.voter: b.option for b in decision.ballots},
        decision=decision.option,
        consensus=decision.consensus,
        decided_by="panel" if decision.decided_by == "rule" else decision.decided_by,
    )


def _work(rows: Sequence[Row], seconds: float) -> Work:
    """Read from the journal what the votes took."""
    engine = reading(connect(os.environ["DATABASE_URL"]))
    states = in_transaction(engine, reads.step_states)
    retries = in_transaction(engine, reads.retries)
    made_twice = in_transaction(engine, reads.calls_made_twice)
    engine.dispose()
    failed = sum(row.decision is None for row in rows)
    return Work(
        steps=sum(states.values()),
        retries=retries,
        failed=failed,
        seconds=seconds,
        made_twice=made_twice,
    )


def _print(rows: Sequence[Row], work: Work, *, as_json: bool) -> None:
    console = Console()  # as wide as the screen, or as COLUMNS says; else 80 columns
    console.print(votes_table(rows, console.width))
    console.print(summary_table(rows, work))
    if as_json:
        print(summary_json(rows, work))
