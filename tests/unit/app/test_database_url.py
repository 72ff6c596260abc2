"""Tables of the journal's addresses: what each means, and what is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.database_url import read_database_url
from app.journal.schema import migrate
from app.journal.schema.engine import SHARED, connect
from app.journal.writing.connection import Held
from app.settings import Settings
from celery_agents.errors import ConfigurationError

SECRET = "hush" + "-hush"
#: What is said with every host, so that no variable of another server's is taken.
HOST = {"hostaddr": "", "options": ""}
H = {"user": "u", "password": "p", "host": "h", "port": 5432, "dbname": "d", **HOST}


def arguments(url: str) -> dict[str, Any]:
    """What psycopg2 is given."""
    read = read_database_url(url)
    assert read.drivername == "postgresql+psycopg2"
    _, kwargs = read.get_dialect()().create_connect_args(read)
    return dict(kwargs)


SERVED: dict[str, dict[str, Any]] = {
    "postgresql://u:p@h/d": H,
    "postgres://u:p@h/d": H,
    "POSTGRESQL://u:p@h/d": H,
    "postgresql+psycopg2://u:p@h/d": H,
    "postgresql+psycopg://u:p@h/d": H,
    "postgresql+asyncpg://u:p@h/d": H,
    "postgres+asyncpg://u:p@h/d": H,
    "postgresql+psycopg_async://u:p@h/d": H,
    "postgresql+pg8000://u:p@h/d": H,
    " postgresql://u:p@h/d\n": H,
    "postgresql://u:p@h:5432/d": H,
    "postgresql://u:p@h:6000/d": {**H, "port": 6000},
    "postgresql://u:p%40s%2F%23@h/d": {**H, "password": "p@s/#"},
    "postgresql://u:p@s@h/d": {**H, "password": "p@s"},
    "postgresql://u%40srv:p@h/d": {**H, "user": "u@srv"},
    "postgresql://u@srv:p@h/d": {**H, "user": "u@srv"},
    "postgresql://u:a:b+c=d&e;f,g[h]!@h/d": {**H, "password": "a:b+c=d&e;f,g[h]!"},
    "postgresql://u:100%@h/d": {**H, "password": "100%"},
    "postgresql://u:p@h/my%20data": {**H, "dbname": "my data"},
    "postgresql://u:p@h": {k: v for k, v in H.items() if k != "dbname"},
    "postgresql://u:p@[::1]/d": {**H, "host": "::1"},
    "postgresql://u:p@h,i:6000/d": {**H, "host": "h,i", "port": "5432,6000"},
    "postgresql:///d": {"dbname": "d"},
    "postgresql:///d?host=/run/postgresql": {"dbname": "d", "host": "/run/postgresql", **HOST},
    "postgresql://u:p@%2Frun%2Fpg/d": {**H, "host": "/run/pg"},
    "postgresql://u:p@h/d?sslmode=verify-full": {**H, "sslmode": "verify-full"},
    "postgresql://u:p@h/d?ssl=true": {**H, "sslmode": "require"},
    "postgresql://u:p@h/d?ssl=require&sslmode=require": {**H, "sslmode": "require"},
    "postgresql://u:p@h/d?ssl=verify-ca": {**H, "sslmode": "verify-ca"},
    "postgresql://u:p@h/d?sslaccept=strict": {**H, "sslmode": "verify-full"},
    "postgresql://u:p@h/d?channel_binding=require&application_name=a%20b": {
        **H,
        "channel_binding": "require",
        "application_name": "a b",
    },
    "postgresql://u:p@h/d?schema=public": {**H, "options": '-csearch_path="public"'},
    "postgresql://u:p@h/d?currentSchema=Agents": {**H, "options": '-csearch_path="Agents"'},
    "postgresql://u:p@h/d?search_path=a,b&options=-cgeqo%3Doff": {
        **H,
        "options": '-cgeqo=off -csearch_path="a","b"',
    },
    "postgresql://u:p@h/d?options=endpoint%3Dep-1": {**H, "options": "endpoint=ep-1"},
    "postgresql://u:p@h/d?hostaddr=10.0.0.1": {**H, "hostaddr": "10.0.0.1"},
    "postgresql://u:p@h/d?pgbouncer=false": H,
    "postgresql://u:p@h/d?connection_limit=5&pool_timeout=10": H,
    "postgresql://u:p@h/d?prepared_statement_cache_size=0&statement_cache_size=0": H,
    "postgresql://u:p@h/d?supa=base-pooler.x&conn_max_age=60&pool=5&encoding=unicode": H,
    "postgresql://u:p@h/d?connect_timeout=3": {**H, "connect_timeout": "3"},
}

REFUSED: dict[str, str] = {
    "": "not a database URL",
    "no url": "not a database URL",
    f"u:{SECRET}@h/d": "not a database URL",
    f"mysql://u:{SECRET}@h/d": "'mysql'",
    f"mongodb+srv://u:{SECRET}@h": "'mongodb'",
    f"cockroachdb://u:{SECRET}@h/d": "'cockroachdb'",
    f"redshift+psycopg2://u:{SECRET}@h/d": "'redshift'",
    f"postgresql+made_up://u:{SECRET}@h/d": "driver 'made_up'",
    f"sqlite+pysqlcipher://:{SECRET}@/j.db": "driver 'pysqlcipher'",
    f"postgresql://u:{SECRET}#x@h/d": "%23",
    f"postgresql://u:{SECRET}/x@h/d": "%2F",
    f"postgresql://u:{SECRET}?x@h/d": "%3F",
    f"postgresql://u:{SECRET}@h/d#x": "#",
    f"postgresql://u:{SECRET}\n@h/d": "line end",
    f"postgresql://u:{SECRET}@h/d\nDATABASE_POOL=5": "line end",
    f"postgresql://u:{SECRET}@h:port/d": "port",
    f"postgresql://u:{SECRET}@h:70000/d": "port",
    f"postgresql://u:{SECRET}@[::1/d": "IPv6",
    f"postgresql://u:{SECRET}@h/d?host=i": "host twice",
    f"postgresql://u:{SECRET}@h/d?sslmode=no-verify": "sslmode",
    f"postgresql://u:{SECRET}@h/d?ssl=maybe": "sslmode",
    f"postgresql://u:{SECRET}@h/d?ssl=true&sslmode=verify-full": "different things of TLS",
    f"postgresql://u:{SECRET}@h/d?sslrootcert=/no/such/file": "sslrootcert.*file",
    f"postgresql://u:{SECRET}@h/d?schema=a%20b": "schema",
    f"postgresql://u:{SECRET}@h/d?schema=": "schema",
    f"postgresql://u:{SECRET}@h/d?schema=a&currentSchema=b": "schema",
    f"postgresql://u:{SECRET}@h/d?connect_timeout=soon": "connect_timeout.*seconds",
    f"postgresql://u:{SECRET}@h/d?statement_timeout=5": "statement_timeout",
    f"postgresql://u:{SECRET}@h/d?sslidentity=x&sslaccept=strict": "sslidentity",
    f"postgresql://u:{SECRET}@h/d?application_name=a&application_name=b": "twice",
    f"postgresql://u:{SECRET}@h/d?{SECRET}": "%3F",
    "sqlite://journal.db": "three slashes",
    "sqlite:journal.db": "not a database URL",
    "sqlite:///journal.db?mode=ro": "parameters",
    "sqlite:///file:journal.db?uri=true": "parameters",
    "sqlite:///a\nb.db": "line end",
}


@pytest.mark.parametrize("url", SERVED)
def test_what_is_served(url: str) -> None:
    assert arguments(url) == SERVED[url]


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_refused(url: str) -> None:
    said = f"(?s)^DATABASE_URL cannot be read: .*{REFUSED[url]}"
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_database_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("url", ["mysql://u@h/d", "postgresql://u@h/d?sslmode=maybe"])
def test_it_is_read_at_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL"):
        Settings.model_validate({"database_url": url})
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL"):
        connect(url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///journal.db", "journal.db"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////var/a/b.db", "/var/a/b.db"),
        ("sqlite:////var/a/b.db\n", "/var/a/b.db"),
        ("sqlite:////home/my user/j@1#2%20.db", "/home/my user/j@1#2%20.db"),
        ("sqlite+aiosqlite:///j.db", "j.db"),
        ("sqlite+pysqlite:///j.db", "j.db"),
        ("sqlite:///j.db?connection_limit=1", "j.db"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite://", None),
    ],
)
def test_files(url: str, path: str | None) -> None:
    read = read_database_url(url)
    assert (read.drivername, read.database) == ("sqlite", path)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_whatever_is_quoted_is_served_as_it_is(user: str, password: str, name: str) -> None:
    login, end = f"{quote(user, safe='')}:{quote(password, safe='')}", quote(name, safe="")
    found = arguments(f"postgresql://{login}@h/{end}")
    assert (found["user"], found["password"], found["dbname"]) == (user, password, name)


@given(st.text())
def test_any_text_is_read_or_refused(some: str) -> None:
    for url in (some, f"postgresql://{some}", f"postgresql://u:p@h/d?{some}", f"sqlite://{some}"):
        try:
            read_database_url(url)
        except ConfigurationError as error:
            assert str(error).startswith("DATABASE_URL cannot")  # noqa: PT017 - or it is read


@pytest.mark.parametrize(("query", "seconds"), [("", 7), ("?connect_timeout=3", "3")])
def test_what_the_address_says_of_patience_counts(
    query: str, seconds: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_: Any, **given: Any) -> None:
        raise LookupError(given["connect_timeout"])

    # Not by an event of the engine: engines of tests share a dialect once one of them has met a
    # server, and its pool goes by its own.
    monkeypatch.setattr(psycopg2, "connect", told)
    engine = connect(f"postgresql://u:p@h/d{query}", timeout_s=7.5)
    with pytest.raises(LookupError) as caught:
        engine.raw_connection()
    assert caught.value.args == (seconds,)


@pytest.mark.postgres
class TestOnAServer:
    def test_variables_of_another_server_are_not_taken(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {
            "PGHOST": "trap.invalid",
            "PGHOSTADDR": "127.0.0.9",
            "PGPORT": "9",
            "PGDATABASE": "theirs",
            "PGOPTIONS": "-cdefault_transaction_read_only=on",
        }.items():
            monkeypatch.setenv(name, value)
        with connect(postgres_url).begin() as connection:
            connection.execute(text("CREATE TABLE t (x int)"))

    def test_a_schema_is_where_the_tables_are(self, postgres_url: str) -> None:
        with connect(postgres_url).begin() as connection:
            connection.execute(text('CREATE SCHEMA "Agents"'))
        engine = connect(f"{postgres_url}?schema=Agents&connection_limit=1")
        migrate.upgrade(engine)
        with engine.begin() as connection:
            schemas = "SELECT DISTINCT table_schema FROM information_schema.tables"
            found = connection.execute(text(f"{schemas} WHERE table_name = 'steps'")).scalars()
            assert list(found) == ["Agents"]
        migrate.ensure_schema(engine)

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg", "postgresql+psycopg"])
    def test_by_the_names_of_other_drivers(self, postgres_url: str, scheme: str) -> None:
        url = f" {scheme}{postgres_url[postgres_url.index('://') :]}\n"
        with connect(url).begin() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1


@pytest.mark.parametrize(
    ("said", "shared"),
    [("", False), ("?pgbouncer=false", False), ("?pgbouncer=true", True), ("?pgbouncer=1", True)],
)
def test_a_pooler_of_transactions_is_told(said: str, shared: bool) -> None:
    """It is our note, and no parameter of libpq's."""
    engine = connect(f"postgresql://u:p@h/d{said}")
    assert engine.get_execution_options().get(SHARED, False) is shared
    assert Held(engine).shoots is not shared
    _, given = engine.dialect.create_connect_args(engine.url)
    assert given == H
