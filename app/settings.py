"""Every setting of the service, its unit in its name, its reason beside it.

Read from the environment (``REDIS_URL``, ``DATABASE_URL``, ``AGENTS_…``) when made, never at
import.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.database_url import read_database_url
from celery_agents import names
from celery_agents.address import RedisAddress
from celery_agents.errors import ConfigurationError
from celery_agents.redis_url import LOCAL, read_redis_url
from celery_agents.said import said


class Settings(BaseSettings):
    """What an operator can turn. Each default holds for one machine and for many."""

    model_config = SettingsConfigDict(
        env_prefix="AGENTS_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    redis_url: Annotated[
        SecretStr, Field(validation_alias=AliasChoices("redis_url", "REDIS_URL"))
    ] = SecretStr(LOCAL)
    database_url: Annotated[
        SecretStr, Field(validation_alias=AliasChoices("database_url", "DATABASE_URL"))
    ] = SecretStr("sqlite:///.local/journal.db")

    #: The file that names the agents; see docs/agents.md.
    config: Path | None = None
    #: Modules to import for their ``@agent`` functions, beside the entry points.
    modules: Annotated[tuple[str, ...], NoDecode] = ()
    queue: str = names.QUEUE

    # Leases: when a worker dies its lease has 7 - 1.5 to 7 s left; its steps are looked for every
    # second. So they run elsewhere after 6.75 s in the middle, 8 s and a claim at the latest.
    # Shorter ones would end too soon: they have to outlast a database that is restarted, and a
    # machine that is too busy to run a heartbeat, for 5.5 s; their steps would be paid twice.
    lease_s: float = 7.0
    heartbeat_interval_s: float = 1.5
    recovery_interval_s: float = 1.0
    #: How long a published message may be on its way before recovery looks at its row.
    wake_grace_s: float = 10.0
    #: Longest pause between two wakes of one row that nobody takes.
    wake_backoff_max_s: float = 300.0
    #: Recovery wakes at most so many rows at a time, and none while the queue is longer.
    wake_batch: int = 500

    #: Payloads above this are refused: they would sit in Redis, the row and every retry.
    payload_limit_bytes: int = 256 * 1024
    #: Answers above this fail their step: they would sit in the row, in Redis and in what follows.
    #: Four payloads: a pattern's answer holds those of its members.
    answer_limit_bytes: int = 1024 * 1024
    #: Messages above this are dead letters, and no worker reads them. Far above the payloads'
    #: limit: what is only somewhat too large is answered with an error, which needs its id.
    message_limit_bytes: int = 4 * 1024 * 1024
    #: Dead letters kept at the most, in Redis and in the journal; the oldest are dropped, counted.
    dead_letters_max: int = 50_000
    #: An idle worker looks for messages this often. Our clients wake it at once; those of plain
    #: Celery wait for this. Each look costs Redis two commands.
    poll_interval_s: float = 0.25
    #: A step without a timeout of its own. Model calls end within minutes.
    step_timeout_s: float = 120.0
    #: A step without a deadline whose agent refuses it (rate limit, open breaker) comes again for
    #: so long: above any pause that a provider asks for, so that nobody waits for ever.
    refusal_limit_s: float = 24 * 3600
    #: Waits above this stay in the row; below it Celery's countdown holds them in the worker.
    countdown_limit_s: float = 60.0

    #: A worker that is asked to stop lets its steps end for so long, then gives them back.
    #: Below the host's own grace (90 s and more), above most model calls.
    drain_grace_s: float = 30.0

    #: Steps that a worker runs at once, where its command line says neither --concurrency nor
    #: another pool. They wait most of their time, and one that waits costs some 50 kB.
    concurrency: int = 200
    #: Threads for sync functions. More of them at once wait for a thread, within their timeout.
    function_threads: int = 64
    #: Steps that one transaction takes at the most; it bounds what one commit can lose or wait.
    group_commit_max: int = 256
    database_timeout_s: float = 10.0
    redis_timeout_s: float = 5.0
    #: Longest step plus its queueing, far above; the same in every worker of one Redis.
    visibility_timeout_s: int = 7200
    result_expires_s: int = 24 * 3600

    #: Runs that succeeded are kept this long, with their steps, calls and events.
    keep_days: float = 30.0
    #: Those that ended in another way; a longer time leaves room to look into them.
    keep_failed_days: float = 30.0
    #: Messages that nobody could run; a dead step goes with its run.
    keep_dead_letters_days: float = 30.0
    #: Cleaning begins with so many rows a transaction, and goes on by how long one takes.
    clean_batch: int = 100
    #: No transaction of cleaning shall hold its locks for longer: steps wait that long at most.
    clean_lock_s: float = 0.1
    #: Beat sends for it so often: a day's rows go in small portions, between the work.
    clean_interval_s: float = 3600.0

    #: Broker, journal, agents and providers are looked at so often. A backup takes over after
    #: two intervals and the agent comes back within one.
    health_interval_s: float = 15.0
    #: A look that takes longer has failed; far below the interval.
    health_timeout_s: float = 3.0
    #: So many failures in a row make a target unhealthy: one may be a lost packet.
    unhealthy_after_failures: int = 2
    #: So many successes in a row make it healthy.
    healthy_after_successes: int = 1
    #: How late a worker may see it: it is asked for by each step whose agent has a backup.
    health_cache_s: float = 1.0
    #: The port of /healthz, /readyz and /metrics of a worker; 0: none.
    health_port: int = 0
    #: Kubernetes asks a pod's own address (0.0.0.0); nothing secret is told.
    health_host: str = "127.0.0.1"

    #: A beat that died is replaced after this. With two messages a turn (see beat_schedules) a
    #: turn is missed only where this, a sixth more, and half an interval exceed the interval.
    beat_lock_s: int = 6

    @field_validator("modules", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """``a,b`` or a JSON list."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [name.strip() for name in value.split(",") if name.strip()]

    @model_validator(mode="after")
    def _addresses_are_read(self) -> Self:
        """At the start, and not when somebody first connects."""
        _ = self.broker
        read_database_url(self.database_url.get_secret_value())
        return self

    @cached_property
    def broker(self) -> RedisAddress:
        """``redis_url``, read."""
        return read_redis_url(self.redis_url.get_secret_value())

    def secret(self, name: str) -> str | None:
        """The value of a secret by the name of its environment variable, at the time of use."""
        return os.environ.get(name) or None


def read_settings() -> Settings:
    """The settings of this process: its environment, after what ``celery``'s command line says.

    Raises:
        ConfigurationError: an address cannot be read, or an option is not served.
    """
    if said("result_backend") is not None:
        raise ConfigurationError(
            "--result-backend is not served: results are kept beside the queues, in REDIS_URL."
        )
    broker = said("broker")
    return Settings() if broker is None else Settings(redis_url=SecretStr(broker))
