"""Every setting of the service, its unit in its name, its reason beside it.

Read from the environment (``REDIS_URL``, ``DATABASE_URL``, ``AGENTS_…``) when made, never at
import.
"""

from __future__ import annotations

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app import environment
from app.database_url import read_database_url
from app.outward import OutwardSettings, listed
from celery_agents import names
from celery_agents.address import RedisAddress
from celery_agents.contracts.ask import WINDOW_MAX
from celery_agents.contracts.vote import BALLOTS_MAX
from celery_agents.errors import ConfigurationError
from celery_agents.redis_url import LOCAL, read_redis_url
from celery_agents.said import said
from celery_agents.sealing import Seals, read_keys_file, seals_of

log = logging.getLogger(__name__)

#: A number with a unit; none of them may be without end.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
Link = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=500)]


class Environment(BaseSettings):
    """Settings are read from the environment, and from no file of variables."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what is given, then the variables that are set."""
        return init_settings, environment.SetVariables(settings_cls)


class WatchingSettings(Environment):
    """Those of watching: what is told of steps that have ended, and where people look."""

    #: What has ended is counted so often; it is what statistics are late by, beside ten seconds.
    stats_interval_s: Positive = 30.0

    #: Where OpenTelemetry's variables name a collector, traces of runs that have ended are sent to
    #: it so often: the pause of OpenTelemetry's own batches.
    traces_interval_s: Positive = 5.0
    #: A run is told so long after it began at the earliest. By then its row is committed, whose
    #: commit may wait as long as the database is waited for.
    traces_delay_s: NotNegative = 10.0
    #: A collector that is away for so long finds all that it missed; older runs are left out.
    traces_backlog_s: Positive = 24 * 3600.0

    #: Where Flower is, as those who look at the page reach it: pages of runs and agents link to it.
    flower_url: Link | None = None
    #: Where the API's pages are, as those who look at Flower reach them: its tasks lead to runs.
    ui_url: Link | None = None


class EncryptionSettings(BaseSettings):
    """Those of encryption: see docs/security.md."""

    #: Keys of Fernet: with some, what agents are asked and answer is encrypted in the broker and in
    #: the journal. The first one encrypts, all decrypt: a new one goes to the end everywhere first.
    fernet_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: A file with more of them, one a line: a mounted secret stands in no list of processes.
    fernet_keys_file: Path | None = None

    @cached_property
    def seals(self) -> Seals | None:
        """The seals of ``fernet_keys`` and those of the file; None without any."""
        return seals_of(self.fernet_secrets)

    @property
    def fernet_secrets(self) -> list[str]:
        """The keys themselves."""
        keys = [key.get_secret_value() for key in self.fernet_keys]
        return [*keys, *read_keys_file(self.fernet_keys_file)]


class PluginSettings(BaseSettings):
    """Those of plug-ins: see docs/plugins.md."""

    #: Folders below which each folder with a ``plugin.json`` is a plug-in.
    plugin_dirs: Annotated[tuple[Path, ...], NoDecode] = ()
    #: ``all``: those, too, are active of which the configuration says nothing. Whoever can install
    #: a package could have the workers run it, so one is named by default.
    plugins: Literal["named", "all"] = "named"
    #: An import that takes longer has failed; those of large libraries take some ten seconds.
    plugin_timeout_s: Positive = 30.0

    @field_validator("plugin_dirs", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        return listed(value)


class Settings(WatchingSettings, EncryptionSettings, OutwardSettings, PluginSettings):
    """The operator's settings. Each default holds for one machine and for many."""

    model_config = SettingsConfigDict(
        env_prefix="AGENTS_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    redis_url: Annotated[
        SecretStr, Field(validation_alias=AliasChoices("redis_url", "REDIS_URL"))
    ] = SecretStr(LOCAL)
    database_url: Annotated[
        SecretStr, Field(validation_alias=AliasChoices("database_url", "DATABASE_URL"))
    ] = SecretStr("sqlite:///.local/journal.db")

    #: A folder of mounted secrets: a file stands for the variable of its name (``REDIS_URL``,
    #: ``OPENAI_API_KEY``). Variables of a container are seen by whoever may inspect it.
    secrets_dir: Path | None = None
    #: The file that names the agents; see docs/agents.md.
    config: Path | None = None
    #: Modules to import for their ``@agent`` functions, beside the entry points.
    modules: Annotated[tuple[str, ...], NoDecode] = ()
    queue: str = names.QUEUE
    #: Lines of the log: for people, or JSON for programs that collect them, with run and step.
    log: Literal["text", "json"] = "text"

    # Leases: when a worker dies its lease has 7 - 1.5 to 7 s left; its steps are looked for every
    # second. So they run elsewhere after 6.75 s in the middle, 8 s and a claim at the latest.
    # Shorter ones would end too soon: they have to outlast a database that is restarted, and a
    # machine that is too busy to run a heartbeat, for 5.5 s; their steps would be paid twice.
    lease_s: Positive = 7.0
    heartbeat_interval_s: Positive = 1.5
    recovery_interval_s: Positive = 1.0
    #: How long a published message may be on its way before recovery looks at its row.
    wake_grace_s: NotNegative = 10.0
    #: Longest pause between two wakes of one row that nobody takes.
    wake_backoff_max_s: Positive = 300.0
    #: Recovery wakes at most so many rows at a time, and none while the queue is longer.
    wake_batch: Count = 500

    #: Payloads above this are refused: they would sit in Redis, the row and every retry.
    payload_limit_bytes: Count = 256 * 1024
    #: What one message may write: the payloads of a pattern's members without what their parent's
    #: row has, or the rest of a chain in each of its links. 250 full payloads.
    spread_limit_bytes: Count = 64 * 1024 * 1024
    #: Votes and gatherings that ask for more ballots (voters x samples x rounds) are refused: each
    #: may be a paid call, and a message of 2 kB can ask for a million. Contracts end at 10,000.
    ballots_max: Count = BALLOTS_MAX
    #: Answers above this fail their step: they would sit in the row, in Redis and in what follows.
    #: Four payloads: a pattern's answer holds those of its members.
    answer_limit_bytes: Count = 1024 * 1024
    #: Larger messages are dead letters; what is only somewhat too large is answered with an error.
    message_limit_bytes: Count = 4 * 1024 * 1024
    #: Dead letters kept at the most, in Redis and in the journal; the oldest are dropped, counted.
    dead_letters_max: Annotated[int, Field(ge=0)] = 50_000
    #: An idle worker looks for messages this often. Our clients wake it at once; those of plain
    #: Celery wait for this. Each look costs Redis two commands.
    poll_interval_s: Positive = 0.25
    #: A step without a timeout of its own. Model calls end within minutes.
    step_timeout_s: Positive = 120.0
    #: A step without a deadline whose agent refuses it (rate limit, open breaker) comes again for
    #: so long: above any pause that a provider asks for, so that nobody waits for ever.
    refusal_limit_s: Positive = 24 * 3600
    #: Waits above this stay in the row; below it Celery's countdown holds them in the worker.
    countdown_limit_s: NotNegative = 60.0
    flows_max: Annotated[int, Field(ge=0)] = 1_000  # kept by a process; 0: each wake replays
    #: So much of a session is sent, its newest: far below what models take, and paid each time.
    session_window_tokens: Annotated[int, Field(ge=0, le=WINDOW_MAX)] = 24_000
    #: Agents may ask agents so deep: a lead, its experts, their helpers, some more. Circles end.
    max_depth: Annotated[int, Field(ge=0)] = 5
    #: So many others may one agent's step ask, in all of its turns; None: as ``max_steps`` allow.
    max_width: Annotated[int, Field(ge=0)] | None = None
    #: So many turns of others may one agent's step lead to, with all below it: more than a team
    #: needs, few enough that somebody looks before the bill does.
    max_steps: Annotated[int, Field(ge=0)] = 200
    #: So often may a conversation be handed over: between two agents it would go on for ever.
    max_handoffs: Annotated[int, Field(ge=0)] = 5
    #: USD that the calls of a run may cost; None: as much as they do.
    max_cost: Annotated[float, Field(gt=0)] | None = None

    #: A worker that is asked to stop lets its steps end for so long, then gives them back.
    #: Below the host's own grace (90 s and more), above most model calls.
    drain_grace_s: NotNegative = 30.0

    #: Steps that a worker runs at once, where its command line says neither --concurrency nor
    #: another pool. They wait most of their time, and one that waits costs some 50 kB.
    concurrency: Count = 200
    #: Threads for sync functions. More of them at once wait for a thread, within their timeout.
    function_threads: Count = 64
    #: Steps that one transaction takes at the most; it bounds what one commit can lose or wait.
    group_commit_max: Count = 256
    database_timeout_s: Positive = 10.0
    redis_timeout_s: Positive = 5.0
    #: Longest step plus its queueing, far above; the same in every worker of one Redis.
    visibility_timeout_s: Count = 7200
    result_expires_s: Count = 24 * 3600

    #: Runs that succeeded are kept this long, with their steps, calls and events.
    keep_days: NotNegative = 30.0
    #: Those that ended in another way; a longer time leaves room to look into them.
    keep_failed_days: NotNegative = 30.0
    #: Messages that nobody could run; a dead step goes with its run.
    keep_dead_letters_days: NotNegative = 30.0
    #: What acts were about (see docs/security.md); that they were done stays, since the chain of
    #: hashes has no gaps. A year: most reviews ask for one.
    keep_audit_days: NotNegative = 365.0
    #: A file outside of the journal in which the end of that chain is noted with each batch:
    #: whoever can rewrite the database should not be able to rewrite it too.
    audit_anchor: Path | None = None
    #: Cleaning begins with so many rows a transaction, and goes on by how long one takes.
    clean_batch: Count = 100
    #: No transaction of cleaning shall hold its locks for longer: steps wait that long at most.
    clean_lock_s: Positive = 0.1
    #: Beat sends for it so often: a day's rows go in small portions, between the work.
    clean_interval_s: Positive = 3600.0

    #: Broker, journal, agents and providers are looked at so often. A backup takes over after
    #: two intervals and the agent comes back within one.
    health_interval_s: Positive = 15.0
    #: A look that takes longer has failed; far below the interval.
    health_timeout_s: Positive = 3.0
    #: So many failures in a row make a target unhealthy: one may be a lost packet.
    unhealthy_after_failures: Count = 2
    #: So many successes in a row make it healthy.
    healthy_after_successes: Count = 1
    #: How late a worker may see it: it is asked for by each step whose agent has a backup.
    health_cache_s: NotNegative = 1.0
    #: The port of /healthz, /readyz and /metrics of a worker; 0: none.
    health_port: Port = 0
    #: Kubernetes asks a pod's own address (0.0.0.0); nothing secret is told.
    health_host: str = "127.0.0.1"

    #: Where the API listens: for this machine alone, unless it is told otherwise.
    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    #: ``none`` lets everybody on this machine do everything; elsewhere it is refused.
    api_auth: Literal["keys", "none"] = "keys"
    #: Where a run is before it is accepted (202): ``journal``, so that a Redis without persistence
    #: loses none; ``broker``, which needs no commit. By default ``journal`` on PostgreSQL alone:
    #: on SQLite each commit waits for the workers' own.
    api_accepts: Literal["journal", "broker"] | None = None
    #: No more runs are accepted (503) while so many wait to begin: 100,000 take 184 MB of Redis.
    api_backlog_max: Count = 50_000
    #: ``Prefer: wait`` holds a request for so long: below what proxies allow.
    api_wait_max_s: Positive = 60.0
    #: The first signs tokens, all check them (HS256, 32 bytes or more): a new one is put first.
    jwt_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: Public keys of others who sign tokens (RS256, ES256, EdDSA): an https:// address, or a file.
    jwks_url: str | None = None
    #: Which tokens are meant for this API, and by whom they are signed.
    jwt_audience: str = "celery-agents"
    jwt_issuer: str = "celery-agents"
    #: Tokens that hold for longer are refused: nobody can revoke them.
    jwt_max_age_s: Positive = 24 * 3600

    #: Where cached answers are; None: in the broker's Redis, which never drops anything itself.
    cache_url: SecretStr | None = None
    #: What they may take there: some 30,000 answers of models, a small part of a broker's memory.
    #: Above it those go that save the fewest dollars a byte.
    cache_bytes: Count = 64 * 1024 * 1024
    #: Cached answers that a worker process keeps in its memory, of 8 kB at the most; 0: none.
    cache_local_max: Annotated[int, Field(ge=0)] = 10_000

    #: A beat that died is replaced after this. With two messages a turn (see beat_schedules) a
    #: turn is missed only where this, a sixth more, and half an interval exceed the interval.
    beat_lock_s: Count = 6

    @field_validator("modules", "jwt_keys", "fernet_keys", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return listed(value)

    @model_validator(mode="after")
    def _addresses_are_read(self) -> Self:
        """At the start, and not when somebody first connects."""
        _ = self.broker, self.cache_address, self.seals
        read_database_url(self.database_url.get_secret_value())
        return self

    @cached_property
    def broker(self) -> RedisAddress:
        """``redis_url``, read."""
        return read_redis_url(self.redis_url.get_secret_value())

    @cached_property
    def cache_address(self) -> RedisAddress:
        """``cache_url``, read; by default the broker."""
        if self.cache_url is None:
            return self.broker
        return read_redis_url(self.cache_url.get_secret_value(), "AGENTS_CACHE_URL")

    @property
    def health_stale_s(self) -> float:
        """Seconds after which a finding says nothing any more: beat is not running."""
        return 3 * self.health_interval_s

    def secret(self, name: str) -> str | None:
        """The value of a secret by the name of its environment variable, at the time of use."""
        return os.environ.get(name) or None


def read_settings() -> Settings:
    """The settings of this process: its environment, after what ``celery``'s command line says.

    Variables that look like settings and are none are warned of. Secrets that are mounted become
    variables of this process, and so of those that it starts.

    Raises:
        ConfigurationError: a setting or a secret cannot be read, or an option is not served.
    """
    if said("result_backend") is not None:
        raise ConfigurationError(
            "--result-backend is not served: results are kept beside the queues, in REDIS_URL."
        )
    broker = said("broker")
    environment.mount(os.environ)
    try:
        found = Settings() if broker is None else Settings(redis_url=SecretStr(broker))
    except ValidationError as error:
        raise ConfigurationError(environment.problems(error)) from None
    named = " ".join([_text(found.config), *found.webhook_secrets])
    for line in environment.unknown(os.environ, Settings.model_fields, named=named):
        log.warning(line)
    return found


def _text(config: Path | None) -> str:
    """Read the agents' file, empty if it cannot be read; its loader says why it cannot."""
    try:
        return "" if config is None else config.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
