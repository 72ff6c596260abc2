"""Every verb of the service's commands, for people and with ``--json``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from agents.catalog.toolsets import read_toolsets
from agents.flows.history import digest_of
from agents.net.clients import SharedClients
from agents.tools.toolset import FixedToolset
from agents.toolsets.kinds import ToolResources
from agents.toolsets.pins import write_pins
from app.access.keys import new_key
from app.access.permissions import Role
from app.cli.commands import commands
from app.journal import Journal
from app.journal.schema import migrate
from app.journal.schema.engine import connect
from app.journal.schema.models import Entry
from app.journal.schema.rows import NewEntry
from app.journal.stores.audit import AuditLog
from app.journal.stores.keys import ApiKeys
from app.journal.stores.letters import Letters
from app.journal.tables.audit import Act
from app.maintenance.dead_letters import letter_row
from app.settings import Settings
from celery_agents import names
from celery_agents.client.cli import HEADINGS, agents
from celery_agents.client.control import who
from celery_agents.sealing import key_id
from tests.support.fernet import fernet_key
from tests.support.malformed import envelope
from tests.support.mcp_servers import COMMAND
from tests.support.plugged import folder
from tests.support.receiver import SECRET
from tests.unit.app.journal.support import SOON, World, claimed, expand, plan, step
from tests.unit.celery_agents.client.test_shell import has, is_sentence, on_a_terminal, verbs

KEY = fernet_key("key")
#: Every verb, with arguments that it serves, and what its JSON has; in an order in which all work.
VERBS: dict[str, tuple[list[str], Any]] = {
    "list": ([], [{"name": "a", "kind": "function"}]),
    "health": ([], {"targets": [{"target": "broker"}, {"target": "journal"}]}),
    "status": (["s"], {"steps": [{"id": "s"}], "events": [], "session": "chat"}),
    "runs list": ([], {"runs": [{"id": "s", "state": "running"}, {"id": "f"}, {"id": "v"}]}),
    "runs show": (["s", "--answers"], {"steps": [{"id": "s"}], "answers": {}}),
    "runs progress": (["v"], {"step_id": "v", "total": 2, "done": 0}),
    "stats": ([], {"rows": []}),
    "cluster": ([], {"workers": [{"name": "worker@here", "running": 3}], "running": 3}),
    "metrics": ([], {"pushed": False}),
    "cancel": (["s"], {"id": "s", "stopped": 1}),
    "flows check": ([], {"ok": True, "flows": [{"id": "f", "flow": "one", "told": None}]}),
    "flows replay": (["f"], {"id": "f", "version": 1, "lines": 1, "told": None}),
    "clean": (["--dry-run"], {"dry_run": True, "rows": {}}),
    "dead list": ([], {"letters": [{"id": "j"}, {"cause": "bad_body"}], "dropped": 0}),
    "dead show": (["i"], {"id": "i", "cause": "bad_body"}),
    "dead requeue": (["i"], {"id": "i"}),
    "dead drop": (["j"], {"id": "j"}),
    "audit list": (
        [],
        [{"action": a} for a in ("letter.drop", "letter.requeue", "run.cancel", "db.upgrade")],
    ),
    "audit verify": ([], {"ok": True, "findings": []}),
    "keys create": (["me", "--agent", "gpt*"], {}),
    "keys list": ([], [{"name": "me"}, {"id": "abcdefgh"}]),
    "keys rotate": (["abcdefgh"], {"replaces": "abcdefgh"}),
    "keys revoke": (["abcdefgh"], {"id": "abcdefgh"}),
    "token": (["me"], {"minutes": 15.0}),
    "plugins list": ([], [{"name": "weather", "status": "installed", "offers": {"agents": ["w"]}}]),
    "plugins activate": (["Weather"], {"name": "weather", "active": True}),
    "plugins deactivate": (["weather"], {"name": "weather", "active": False}),
    "replicate": (["--new-identity"], {}),
    "mcp logins": ([], []),
    "tools list": ([], [{"name": "desk.sum_calculate", "effects": "pure", "approve": "never"}]),
    "tools show": (["maths.calculate"], {"name": "maths.calculate", "needs": []}),
    "tools try": (["desk.sum_calculate", '{"expression": "2*3"}'], {"value": "6", "exact": True}),
    "tools pin": (["desk"], {}),
    "webhook-secret": (["--tenant", "acme"], {"tenant": "acme"}),
    "encryption key": ([], {}),
    "encryption status": ([], [{"key": key_id(KEY), "values": 0, "here": True}]),
    "encryption rotate": ([], {"key": key_id(KEY), "renewed": 0, "left": {}}),
    "db current": ([], {"revision": migrate.head(), "needed": migrate.head()}),
    "db vacuum": ([], {"vacuumed": True}),
    "db downgrade": (["base"], {"revision": None}),
    "db upgrade": ([], {"revision": migrate.head()}),
}


@pytest.fixture
def app(
    redis_url: str, sqlite_journal_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """An app as the commands see it, with a run, an agent and two letters."""
    about: dict[str, Any] = {
        "redis_url": redis_url,
        "database_url": sqlite_journal_url,
        "jwt_keys": ["k" * 32],
    }
    about |= {"webhook_secrets": ["HOOK"], "fernet_keys": [KEY]}
    about["modules"] = ["tests.support.flows"]
    about["config"] = _toolsets(tmp_path)
    folder(tmp_path / "plugins", "weather", {"name": "weather", "agents": {"w": "."}})
    about["plugin_dirs"] = [tmp_path / "plugins"]
    settings = Settings.model_validate(about)
    monkeypatch.setenv("HOOK", SECRET)
    world = World(sqlite_journal_url)
    journal = world.journal()
    expand(journal, "v", plan("a", "b"))
    _begin_flow(journal)
    options = {"agent": "a", "session": "chat", "max_steps": 0, "max_cost": 0.5}
    claimed(journal, "s", step(payload={"args": ["hello"], "kwargs": options}))
    journal.announce([{"name": "a", "kind": "function", "description": "", "effects": "pure"}])
    raw = json.dumps(envelope([["hello"], {}, None])).encode()
    head = json.dumps({"cause": "bad_body", "reason": "r", "at": 5.0}).encode()
    letter = b"\n".join([b"agents", str(len(raw)).encode(), head, raw])
    engine = connect(sqlite_journal_url, timeout_s=5.0)
    Letters(engine).insert([letter_row(i, letter) for i in "ij"], most=10)
    _, row = new_key("old", Role.USER, tenant="", by="a test")
    ApiKeys(engine).add({**row, "id": "abcdefgh"}, None)
    engine.dispose()
    path = "app.cli.commands:commands"
    given = {"agents_settings": settings, "seals": settings.seals, "agents_cli": path}
    yield SimpleNamespace(**given, tasks={}, broker_address=None)
    world.close()


def _toolsets(folder: Path) -> Path:
    """A configuration with a toolset that is pinned."""
    pins = folder / "desk.pins"
    table = {"kind": "builtin", "use": ["maths.calculate"], "prefix": "sum_"}
    resources = ToolResources(lambda _: None, ThreadPoolExecutor(1), SharedClients())
    found = read_toolsets(folder, {"desk": table}, resources)["desk"]
    assert isinstance(found, FixedToolset)
    write_pins(found.tools, pins)
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**table, "pin": str(pins)}.items()]
    path = folder / "agents.toml"
    path.write_text("\n".join(["[tools.desk]", *lines]))
    return path


def _begin_flow(journal: Journal) -> None:
    payload = {"args": [1], "kwargs": {"flow": "one"}}
    claim = claimed(journal, "f", step("f", task=names.FLOW, agent=None, payload=payload))
    command = ["1", "ask", "echo", digest_of([1, {"agent": "echo"}])]
    told = {**_LINE, "then": [command]}
    line = NewEntry("", "flow/f", "started", told)
    journal.expand(claim, plan("x", kind="any"), entries=[line]).result(SOON)


def call(app: Any, *words: str) -> Result:
    return CliRunner().invoke(agents, words, obj=SimpleNamespace(app=app))


def test_flows_whose_code_differs_are_told(app: Any, sqlite_journal_url: str) -> None:
    with World(sqlite_journal_url).engine.begin() as c:
        c.execute(update(Entry).values(data={**_LINE, "then": [["1", "ask", "other", "x"]]}))
    done = call(app, "flows", "check")
    assert done.exit_code == 1
    assert "asks for ask echo" in done.stdout
    assert "flows.py:" in done.stdout
    assert call(app, "flows", "replay", "nobody").exit_code == 1


_LINE = {"key": "", "at": 1.0, "value": {"version": 1}}


def test_every_verb_is_in_the_table() -> None:
    # Workers are asked (tests/integration/test_load.py), a person signs in (test_mcp.py), or a file
    # is written (below).
    asks = {"load", "mcp login", "mcp logout", "cassette"}
    installs = {"plugins install"}  # into this environment: tests/unit/app/cli/test_plugins.py
    assert set(verbs(commands)) - asks - installs == set(VERBS)


def test_help_lists_each_command_once_under_a_heading(app: Any) -> None:
    told = [name for names in HEADINGS.values() for name in names.split()]
    assert sorted(told) == sorted({*agents.commands, *commands.commands})
    shown = call(app, "--help").stdout
    assert "Others:" not in shown
    places = [shown.index(f"\n{heading}:\n") for heading in HEADINGS]
    assert places == sorted(places)
    for name in told:
        assert len(re.findall(rf"^  {name} +[A-Z]", shown, re.MULTILINE)) == 1, name


#: Those of an app that has more.
ADDED = click.Group(
    commands={name: click.Command(name, help="Does it.") for name in ("new", "added", "brand-new")}
)


def test_help_lists_commands_that_it_does_not_know_too(app: Any) -> None:
    app.agents_cli = f"{__name__}:ADDED"
    shown = call(app, "--help").stdout
    told = "".join(f"  {name:<9}  Does it.\n" for name in sorted(ADDED.commands))
    assert shown.endswith(f"Others:\n{told}")


@pytest.mark.parametrize("as_json", [True, False])
def test_all_verbs_show_their_results(app: Any, *, as_json: bool) -> None:
    for verb, (words, told) in VERBS.items():
        done = call(app, *verb.split(), *words, *(["--json"] if as_json else []))
        assert done.exit_code == 0, (verb, done.output, done.exception)
        assert done.stdout.strip()
        if as_json:
            assert has(json.loads(done.stdout), told), (verb, done.stdout)


def test_a_list_of_nothing_is_told_in_a_sentence(redis_url: str, sqlite_journal_url: str) -> None:
    about: dict[str, Any] = {"redis_url": redis_url, "database_url": sqlite_journal_url}
    settings = Settings.model_validate(about)
    World(sqlite_journal_url).close()
    given = {"agents_settings": settings, "agents_cli": "app.cli.commands:commands"}
    empty = SimpleNamespace(**given, seals=(), tasks={}, broker_address=None)
    told = {verb for verb, (_, told) in VERBS.items() if isinstance(told, list)}
    for verb in sorted(told - {"audit list"}):  # which has the making of the journal
        assert json.loads(call(empty, *verb.split(), "--json").stdout) == [], verb
        done = call(empty, *verb.split())
        assert is_sentence(done.stdout), (verb, done.output, done.exception)


def test_the_calls_of_a_run_are_written_to_a_file(app: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    done = call(app, "cassette", "s", "--output", str(file), "--json")
    assert json.loads(done.stdout) == {"file": str(file), "calls": 0}
    assert file.read_text() == ""
    assert call(app, "cassette", "nobody").exit_code == 1


def test_lists_fit_a_terminal(
    app: Any, sqlite_journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch)
    long = "long " * 100
    head = json.dumps({"cause": "journal_refuses", "reason": long, "at": 5.0}).encode()
    engine = connect(sqlite_journal_url, timeout_s=5.0)
    raw = json.dumps(envelope([["hello"], {}, None])).encode()
    letter = b"\n".join([b"agents", str(len(raw)).encode(), head, raw])
    Letters(engine).insert([letter_row("k" * 36, letter)], most=10)
    AuditLog(engine, None).write([Act("me", "run.cancel", long, "", {})])
    engine.dispose()
    row = {"target": "agent:" + "a" * 30, "state": "unhealthy", "lasts_s": 5e5, "age_s": 59.0}
    row |= {"latency_ms": 1234.5, "failures": 123, "breaker": "half_open", "message": long}
    found = SimpleNamespace(rows=[row], ok=True)
    monkeypatch.setattr("app.cli.commands.report", lambda *_: found)
    for verb in ("runs list", "dead list", "health", "audit list", "tools list --builtin"):
        done = call(app, *verb.split())
        assert done.exit_code == 0, (verb, done.output)
        assert max(map(len, done.stdout.splitlines())) <= 80, verb
    assert f"\n{'k' * 36}  " in call(app, "dead", "list").stdout
    assert f"\n{row['target']}  unhealthy" in call(app, "health").stdout


def test_a_run_is_shown_with_what_it_was_asked_for_with(app: Any) -> None:
    assert call(app, "status", "s").stdout.startswith("session chat  max_steps 0  max_cost 0.5\na ")


def test_a_tool_is_tried_with_its_example_and_tells_its_errors(app: Any) -> None:
    assert "a bat" in call(app, "tools", "try", "replace_text").stdout
    assert "desk" not in call(app, "tools", "list", "--builtin").stdout
    for words, told in {
        ("calculate", '{"expression": "1/0"}'): "divides by zero",
        ("calculate", "{"): "no JSON",
        ("desk.sum_calculate",): "no example",
    }.items():
        done = call(app, "tools", "try", *words)
        assert done.exit_code > 0
        assert told in done.stderr


def test_operations_of_a_service_stand_in_the_catalogue(app: Any, tmp_path: Path) -> None:
    pets = {"operationId": "pets", "summary": "Lists pets.", "responses": {"200": {}}}
    spec = {"openapi": "3.1.0", "info": {}, "paths": {"/pets": {"get": pets, "post": {}}}}
    (tmp_path / "pets.json").write_text(json.dumps(spec))
    pins, config = tmp_path / "pets.pins", app.agents_settings.config
    table = f'\n[tools.shop]\nkind = "openapi"\nspec = "{tmp_path / "pets.json"}"\npin = "{pins}"'
    more = 'server = "https://shop.example"\nprefix = "s_"\nexclude = ["POST /**"]\n'
    config.write_text(f"{config.read_text()}{table}\n{more}")
    assert call(app, "tools", "pin", "shop").exit_code == 0
    listed = json.loads(call(app, "tools", "list", "--json").stdout)
    told = {"effects": "idempotent", "approve": "never", "description": "Lists pets."}
    assert {"name": "shop.s_pets", **told} in listed
    assert [one["name"] for one in listed if one["name"].startswith("shop.")] == ["shop.s_pets"]
    shown = json.loads(call(app, "tools", "show", "shop.s_pets", "--json").stdout)
    assert shown["policy"]["untrusted"]


def test_tools_of_servers_are_asked_for_and_pinned(app: Any, tmp_path: Path) -> None:
    """Of a server that is not there it is said so, and the others are shown."""
    config = app.agents_settings.config
    pins = tmp_path / "books.pins"
    pins.write_text("{}")
    tables = {"books": ([*COMMAND], f'pin = "{pins}"'), "gone": (["no-such-program"], "")}
    for name, (command, more) in tables.items():
        table = f'\n[tools.{name}]\nkind = "mcp"\ncommand = {json.dumps(command)}\n{more}\n'
        config.write_text(config.read_text() + table)
    assert "books.add" not in call(app, "tools", "list").stdout
    assert call(app, "tools", "pin", "books").exit_code == 0
    listed = call(app, "tools", "list")
    assert "books.add" in listed.stdout
    assert "desk.sum_calculate" in listed.stdout
    assert "[tools.gone]" in listed.stderr
    shown = json.loads(call(app, "tools", "show", "books.add", "--json").stdout)
    assert (shown["name"], shown["policy"]["effects"]) == ("books.add", "effect")
    tried = call(app, "tools", "try", "books.add", '{"a": 2, "b": 3}', "--yes", "--json")
    assert json.loads(tried.stdout) == {"result": 5}


_UNKNOWN = [
    "tools show x",
    "tools pin x",
    "status x",
    "runs show x",
    "runs progress s",
    "cancel x",
    "keys revoke x",
]


@pytest.mark.parametrize("line", [*_UNKNOWN, "keys rotate x", "dead show x", "dead drop x"])
def test_what_there_is_not_is_not_found(app: Any, line: str) -> None:
    done = call(app, *line.split(), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["kind"] == "not_found"
    plain = call(app, *line.split())
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert "There is no" in plain.stderr


def test_a_journal_that_is_away_is_told(app: Any) -> None:
    _journal_at(app, "postgresql://me:word@127.0.0.1:1/journal")
    done = call(app, "list", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)["error"]
    assert told["kind"] == "journal"
    assert "connections. Nothing was acknowledged. Check DATABASE_URL" in told["message"]
    assert "word" not in told["message"]


def _journal_at(app: Any, url: str) -> None:
    secret = type(app.agents_settings.database_url)(url)
    app.agents_settings = app.agents_settings.model_copy(update={"database_url": secret})


@pytest.mark.parametrize("revision", ["", "0001"])
def test_a_journal_of_another_version_is_told(app: Any, tmp_path: Path, revision: str) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    if revision:
        engine = connect(url)
        migrate.upgrade(engine, revision)
        engine.dispose()
    _journal_at(app, url)
    for line in ("runs list", "audit list", *(() if revision else ("status s", "dead list"))):
        done = call(app, *line.split())
        assert done.exit_code == 1, line
        assert f"{revision or 'empty'}, this version needs {migrate.head()}" in done.output, line
        assert "agents db upgrade" in done.output


def test_no_dead_letters_are_told(app: Any) -> None:
    call(app, "dead", "drop", *(one["id"] for one in json.loads(_letters(app))["letters"]))
    assert call(app, "dead", "list").stdout == "There are no dead letters.\n"


def _letters(app: Any) -> str:
    return call(app, "dead", "list", "--json").stdout


def test_acts_are_written_down(app: Any) -> None:
    lines = ["cancel s", "dead requeue i", "dead drop j", "clean", "db vacuum", "token ada"]
    lines += ["keys create me", "keys rotate abcdefgh", "keys revoke abcdefgh"]
    for line in [*lines, "list", "status s", "clean --dry-run", "dead list"]:
        assert call(app, *line.split()).exit_code == 0
    found = json.loads(call(app, "audit", "list", "--json").stdout)
    told = [f"{one['action']} {one['target']}".strip() for one in reversed(found)]
    assert told.pop(0) == "db.upgrade head"  # of the fixture
    assert told.pop(6).startswith("key.create ")
    *first, sign, rotate, revoke = told
    assert first == ["run.cancel s", "letter.requeue i", "letter.drop j", "clean", "db.vacuum"]
    assert (sign, rotate, revoke) == (
        "token.sign ada",
        "key.rotate abcdefgh",
        "key.revoke abcdefgh",
    )
    assert {one["actor"] for one in found} == {who()}


def test_a_chain_that_was_changed_is_told(app: Any) -> None:
    call(app, "clean")
    engine = connect(app.agents_settings.database_url.get_secret_value(), timeout_s=5.0)
    with engine.begin() as c:
        c.exec_driver_sql("UPDATE audit SET actor = 'bob'")
    engine.dispose()
    done = call(app, "audit", "verify", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["ok"], told["findings"][0]["kind"]) == (False, "changed")
    assert "changed    1 to 1" in call(app, "audit", "verify").stdout
