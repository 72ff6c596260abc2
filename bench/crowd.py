"""A crowd before a provider's limit: many asks at once, with that limit configured or learned.

A real worker asks a provider that refuses honestly what is above its rate. Told are the answers,
the requests that it refused, claims a step, and the time, beside all requests at the provider's
rate. The shortest would be less by what is asked at once: half a second's worth, of the second's
that the provider takes, since requests are not equally long on their way and it would refuse some
(``REQUESTS_BURST_S``). What it took beyond that is told in three parts: seconds before the first
request came to the provider, seconds' worth of the rate that were left unused, and seconds behind
the last one.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager

from sqlalchemy import func, select

from agents.governance.wants import REQUESTS_BURST_S
from app.journal.schema.engine import connect
from app.journal.schema.models import Step, table
from bench.one_worker import one_worker
from celery_agents import RetryPolicy
from tests.fakes.model_server import Bucket, Does, ModelServer, running
from tests.integration.harness import Stack

#: A provider of 6,000 requests a minute, which takes as many at once as in a second.
ASKS, PER_S, BURST = 1_000, 100.0, 100
SHORTEST_S = ASKS / PER_S - REQUESTS_BURST_S
SOON_S = 300.0
_ONCE = RetryPolicy(max_attempts=1)
#: By name: how the file has the limit.
LIMITS = {"configured": f"requests_per_minute = {PER_S * 60:.0f}", "learned": "learn = true"}


class _Timed(Bucket):
    """Notes when it let the first and the newest request pass."""

    def __init__(self) -> None:
        super().__init__(PER_S, BURST, tells=True)
        self.first_at = self.newest_at = 0.0

    def wait_s(self) -> int | None:
        wait_s = super().wait_s()
        if wait_s is None:
            self.newest_at = time.monotonic()
            self.first_at = self.first_at or self.newest_at
        return wait_s


def main() -> None:
    """Print how the crowd came through, by how the limit is known."""
    figures = {name: _crowd(limit) for name, limit in LIMITS.items()}
    print(json.dumps({"bench": "crowd", "asks": ASKS, **figures}))


def _crowd(limit: str) -> dict[str, float]:
    with running() as provider, _worker(provider, limit) as stack:
        provider.script(Does(text="ok"))
        stack.client.ask("gpt", "warm").get(timeout=SOON_S)
        provider.bucket = bucket = _Timed()
        began = time.monotonic()
        runs = stack.client.ask.many("gpt", [str(n) for n in range(ASKS)], retry=_ONCE)
        ended = stack.client.runs.collect(runs, timeout=SOON_S, return_exceptions=True)
        over = time.monotonic()
        engine = connect(stack.database_url)
        with engine.connect() as connection:
            claims = connection.execute(select(func.sum(table(Step).c.token))).scalar_one()
        engine.dispose()
        found = {
            "answered": sum(value == "ok" for value in ended),
            "refused": bucket.refused,
            "of_rate_time": round((over - began) / (ASKS / PER_S), 3),
            "of_shortest_time": round((over - began) / SHORTEST_S, 3),
            "before_s": round(bucket.first_at - began, 2),
            "unused_s": round(bucket.newest_at - bucket.first_at - SHORTEST_S, 2),
            "behind_s": round(over - bucket.newest_at, 2),
            "claims_a_step": round(claims / (ASKS + 1), 2),
        }
    print(found)
    return found


def _worker(provider: ModelServer, limit: str) -> AbstractContextManager[Stack]:
    config = (
        f'[agents.gpt]\nkind = "openai"\nmodel = "gpt-5-mini"\n'
        f'base_url = "{provider.url}/v1"\napi_key_env = "FAKE_KEY"\n'
        f'[limits.openai]\ncovers = ["agent:gpt"]\n{limit}\n'
    )
    env = {"FAKE_KEY": "sk-fake-0123456789abcdef0123"}
    return one_worker("--concurrency", "100", config=config, env=env)
