from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agents.base import Answer, Turn
from agents.catalog.entries import CeleryEntry, HttpEntry, ModelEntry, ScriptedEntry
from agents.catalog.kinds import Resources, all_kinds
from agents.catalog.registry import Registry, read_entries
from agents.net.clients import SharedClients
from celery_agents import agent
from celery_agents.agent import mark_of
from celery_agents.contracts.compensation import Compensation
from celery_agents.errors import ConfigurationError, UnknownAgentError

TOML = """
[agents.gpt]
kind = "openai"
model = "gpt-5-mini"
instructions = "Be brief."

[agents.claude]
kind = "anthropic"
model = "claude"

[agents.gemini]
kind = "google"
model = "gemini"
base_url = "https://example.com/v1"

[agents.shouter]
kind = "function"
function = "offered.agents:shout"
effects = "pure"
description = "Says it louder."

[agents.service]
kind = "http"
url = "https://example.com/ask"

[agents.shop]
kind = "celery"
task = "shop.answer"
queue = "shop"
effects = "effect"

[agents.parrot]
kind = "scripted"
replies = [{ value = "yes" }]
"""

MODULE = """
from celery_agents import agent

@agent(effects="effect")
def mail(text: str) -> str:
    "Sends it."
    return text

@agent(name="whisper")
async def quiet(text: str) -> str:
    return text.lower()

def shout(text: str) -> str:
    return text.upper()

NOT_AN_AGENT = 1
"""

TOOLS = """
from agents.tools import Filtered, Limited, Prefixed, Toolset, tool

@tool(effects="pure")
def look(number: int) -> str:
    "Looks."
    return "seen"

@tool(effects="idempotent")
def file(number: int) -> str:
    "Files."
    return "filed"

@tool
def charge(amount: float) -> str:
    "Charges a card."
    return "charged"

class Shelf(Toolset):
    def __init__(self, name, effects):
        self.name, self.effects = name, effects
    async def specs(self, step):
        return []
    async def call(self, name, arguments, *, key, step):
        return None

reads, charges = Shelf("reads", "pure"), Shelf("charges", "effect")
wrapped = Limited(Filtered(Prefixed(charges, "x_"), without=["x_charge"]), 5)

@tool(name="look")
def look_again(number: int) -> str:
    "Looks."
    return "seen"

def undeclared(number: int) -> str:
    "Nobody knows."
    return "done"

def broken(*numbers: int) -> str:
    return "a model gives arguments by name"

NOT_A_TOOL = 1
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed distribution that offers a module and a function."""
    package = tmp_path / "site" / "offered"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "agents.py").write_text(MODULE)
    (package / "tools.py").write_text(TOOLS)
    (package / "single.py").write_text("def plain(text):\n    return text\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield tmp_path / "site"
    for name in [m for m in sys.modules if m.split(".")[0] == "offered"]:
        del sys.modules[name]


def install(site: Path, *points: str) -> None:
    info = site / "offered-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[celery_agents]\n" + "\n".join(points) + "\n")


class Task:
    """A backend that the layer above makes."""

    closed = 0

    async def answer(self, turn: Turn, step: Any) -> Answer:
        return Answer(value=f"task: {turn.input}")

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def registry() -> Iterator[Registry]:
    with ThreadPoolExecutor(1) as executor:
        yield Registry(
            Resources(
                resolve_secret=lambda _: None,
                executor=executor,
                clients=SharedClients(),
                celery=lambda _: Task(),
            )
        )


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agents.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- the file


def test_entries_of_each_kind(tmp_path: Path, registry: Registry, offered: Path) -> None:
    path = write(tmp_path, TOML)
    entries = read_entries(path, all_kinds())
    assert [type(e) for e in entries.values()].count(ModelEntry) == 3
    assert [e.provider for e in entries.values() if isinstance(e, ModelEntry)] == [
        "openai",
        "anthropic",
        "google",
    ]
    assert isinstance(entries["service"], HttpEntry)
    assert isinstance(entries["shop"], CeleryEntry)
    assert isinstance(entries["parrot"], ScriptedEntry)
    registry.load(config=path, modules=())
    found = {a.name: (a.kind, a.effects) for a in registry}
    assert found == {
        "gpt": ("openai", "idempotent"),
        "claude": ("anthropic", "idempotent"),
        "gemini": ("google", "idempotent"),
        "shouter": ("function", "pure"),
        "service": ("http", "idempotent"),
        "shop": ("celery", "effect"),
        "parrot": ("scripted", "idempotent"),
    }
    assert registry.get("shouter").description == "Says it louder."


THEIRS = "[agents.a]\nkind = 'celery'\ntask = 't'\nqueue = 'q'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[agents.a]\nkind = 'magic'", r"\[agents\.a\] .*'magic'"),
        ("[agents.a]\nmodel = 'm'", r"\[agents\.a\] .*kind"),
        ("[agents.a]\nkind = 'openai'", r"\[agents\.a\] model: Field required"),
        ("[agents.a]\nkind = 'openai'\nmodel = 'm'\ncolour = 1", r"\[agents\.a\] colour: "),
        ("[agents.a]\nkind = 'function'\nfunction = 'no colon'", r"\[agents\.a\] function: "),
        ("[agents.a]\nkind = 'celery'\ntask = 't'", r"\[agents\.a\] queue: "),
        (f"{THEIRS}result_url = 'somewhere'", r"\[agents\.a\] .*result_url: .*redis://"),
        (f"{THEIRS}result_url = 'rpc://'", r"\[agents\.a\] .*result_url: .*nobody else"),
        (f"{THEIRS}result_url = 'disabled://'", r"\[agents\.a\] .*result_url: .*nobody else"),
        (f"{THEIRS}result_url = 'redis://h'\nresult_url_env = 'A'", r"\[agents\.a\] .*give one"),
        (f"{THEIRS}result_url_env = 'redis://h'", r"\[agents\.a\] .*result_url_env: "),
        ("[agents.a]\nkind = 'http'\nurl = 'ftp://x'", r"\[agents\.a\] url: "),
        ("[agents.a]\nkind = 'scripted'\nreplies = []", r"\[agents\.a\] replies: "),
        ("[agents]\na = 5", r"\[agents\.a\] "),
        ("agents = 5", "tables like"),
        ("", "tables like"),
        ("[agent.a]\nkind = 'scripted'", "tables like"),
        ("[agents.a]\nkind = 'scripted'\n[other]", "tables like"),
        ("[agents.a", "is not TOML"),
    ],
)
def test_mistakes_name_the_file_the_agent_and_the_field(
    tmp_path: Path, text: str, told: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=told) as error:
        read_entries(path, all_kinds())
    assert str(path) in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read: No such file"):
        read_entries(tmp_path / "nowhere.toml", all_kinds())
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        read_entries(tmp_path / "odd.toml", all_kinds())


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("offered.nowhere:f", "'offered.nowhere' cannot be imported"),
        ("offered.agents:nothing", "offered.agents:nothing is not a function"),
        ("offered.agents:NOT_AN_AGENT", "is not a function"),
    ],
)
def test_functions_that_are_not_there(
    tmp_path: Path, registry: Registry, offered: Path, function: str, told: str
) -> None:
    path = write(tmp_path, f"[agents.a]\nkind = 'function'\nfunction = '{function}'")
    with pytest.raises(ConfigurationError, match=told):
        registry.load(config=path, modules=())


# ---------------------------------------------------------------- modules and entry points


def test_marked_functions_of_modules(registry: Registry, offered: Path) -> None:
    registry.load(config=None, modules=("offered.agents",))
    found = {a.name: (a.kind, a.description, a.effects) for a in registry}
    assert found == {
        "mail": ("function", "Sends it.", "effect"),
        "whisper": ("function", "", "idempotent"),
    }


def test_a_module_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match=r"'no\.such\.module' cannot be imported"):
        registry.load(config=None, modules=("no.such.module",))


def test_active_packages_offer_modules_and_functions(
    registry: Registry, offered: Path, tmp_path: Path
) -> None:
    install(offered, "all = offered.agents", "plain = offered.single:plain")
    registry.load(config=None, modules=())
    assert [*registry] == []  # installed is not active
    registry.load(config=write(tmp_path, "[plugins.offered]"), modules=())
    assert sorted(a.name for a in registry) == ["mail", "plain", "whisper"]


@pytest.mark.parametrize("point", ["x = offered.nowhere", "x = offered.single:nothing"])
def test_an_active_plug_in_that_is_broken_costs_its_agents(
    registry: Registry, offered: Path, tmp_path: Path, point: str
) -> None:
    install(offered, point, "plain = offered.single:plain")
    registry.load(config=write(tmp_path, "[plugins.offered]"), modules=())
    assert [a.name for a in registry] == ["plain"]
    with pytest.raises(UnknownAgentError, match=r"plug-in offered 1\.0 .*agents: x"):
        registry.get("mail")


def test_a_plug_in_whose_agent_has_a_taken_name_costs_itself(
    registry: Registry, offered: Path, tmp_path: Path
) -> None:
    install(offered, "all = offered.agents", "plain = offered.single:plain")
    text = "[plugins.offered]\n[agents.plain]\nkind = 'scripted'\n"
    registry.load(config=write(tmp_path, text), modules=())
    assert sorted(a.name for a in registry) == ["mail", "plain", "whisper"]
    assert registry.get("plain").kind == "scripted"
    with pytest.raises(UnknownAgentError, match=r"plug-in offered 1\.0 .*plain = .*Two agents"):
        registry.get("nobody")


def test_who_names_an_agent_of_a_broken_plug_in_is_told_of_it(
    registry: Registry, offered: Path, tmp_path: Path
) -> None:
    install(offered, "x = offered.nowhere")
    text = "[plugins.offered]\n[agents.a]\nkind = 'scripted'\nbackup = 'mail'\n"
    with pytest.raises(ConfigurationError, match=r"'mail'.*plug-in offered 1\.0"):
        registry.load(config=write(tmp_path, text), modules=())


def test_a_name_that_is_given_twice(registry: Registry, offered: Path, tmp_path: Path) -> None:
    path = write(tmp_path, "[agents.mail]\nkind = 'scripted'")
    with pytest.raises(ConfigurationError, match="Two agents are named 'mail'"):
        registry.load(config=path, modules=("offered.agents",))


def test_a_function_that_is_seen_twice_is_one_agent(registry: Registry) -> None:
    """A package often offers again what its modules define."""

    @agent
    def one(text: str) -> str:
        return text

    module = ModuleType("module")
    module.one = module.alias = one  # type: ignore[attr-defined]  # a module's
    registry.add_module(module)
    registry.add_module(module)
    assert [a.name for a in registry] == ["one"]


# ---------------------------------------------------------------- asking


def test_an_unknown_agent_lists_what_there_is(registry: Registry, offered: Path) -> None:
    with pytest.raises(UnknownAgentError, match=r"'gpt' in this worker\. It has: none at all"):
        registry.get("gpt")
    registry.load(config=None, modules=("offered.agents",))
    with pytest.raises(UnknownAgentError, match="It has: mail, whisper"):
        registry.get("gpt")


def test_agents_with_effects_are_not_raced(registry: Registry, offered: Path) -> None:
    registry.load(config=None, modules=("offered.agents",))
    registry.refuse_to_race(["whisper"])
    with pytest.raises(ConfigurationError, match="'mail' has effects"):
        registry.refuse_to_race(["whisper", "mail"])
    registry.refuse_to_race(["nobody"])  # it fails as a candidate, and the others may win


MODEL = '[agents.gpt]\nkind = "openai"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("tools", "declared", "effects"),
    [
        ([], None, "idempotent"),
        ([], "pure", "pure"),
        (["look"], None, "idempotent"),
        (["look"], "pure", "pure"),
        (["file"], "pure", "idempotent"),
        (["look", "file"], "effect", "effect"),
        (["charge"], None, "effect"),
        (["look", "charge", "file"], "pure", "effect"),  # one is enough, whatever the entry says
        (["undeclared"], "idempotent", "effect"),
        (["reads"], "pure", "pure"),
        (["reads", "file"], "pure", "idempotent"),
        (["charges"], "pure", "effect"),
        (["look", "wrapped"], "pure", "effect"),
    ],
)
def test_a_models_effects_are_the_worst_of_its_tools(
    registry: Registry,
    offered: Path,
    tmp_path: Path,
    *,
    tools: list[str],
    declared: str | None,
    effects: str,
) -> None:
    paths = [f"offered.tools:{name}" for name in tools]
    stated = f'effects = "{declared}"\n' if declared else ""
    registry.load(config=write(tmp_path, f"{MODEL}tools = {paths}\n{stated}"), modules=())
    assert registry.get("gpt").effects == effects
    if effects == "effect":
        with pytest.raises(ConfigurationError, match="'gpt' has effects"):
            registry.refuse_to_race(["gpt"])
    else:
        registry.refuse_to_race(["gpt"])


def test_nobody_races_an_agent_whose_backup_has_effects(
    registry: Registry, offered: Path, tmp_path: Path
) -> None:
    config = f'{MODEL}backup = "mail"\n'
    registry.load(config=write(tmp_path, config), modules=("offered.agents",))
    with pytest.raises(ConfigurationError, match="backup 'mail' of 'gpt' has effects"):
        registry.refuse_to_race(["whisper", "gpt"])


@pytest.mark.parametrize(
    ("function", "declared", "effects"),
    [
        ("mail", None, "effect"),  # as the function says of itself
        ("mail", "idempotent", "idempotent"),  # the entry knows better
        ("quiet", None, "idempotent"),
        ("shout", None, "idempotent"),
        ("shout", "effect", "effect"),
    ],
)
def test_an_entry_takes_over_what_its_function_says(
    registry: Registry,
    offered: Path,
    tmp_path: Path,
    *,
    function: str,
    declared: str | None,
    effects: str,
) -> None:
    stated = f'effects = "{declared}"\n' if declared else ""
    entry = f'[agents.it]\nkind = "function"\nfunction = "offered.agents:{function}"\n{stated}'
    registry.load(config=write(tmp_path, entry), modules=())
    assert registry.get("it").effects == effects


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        (["offered.tools:nothing"], "offered.tools:nothing"),
        (["offered.nowhere:look"], "offered.nowhere"),
        (["nowhere:look"], "nowhere"),
        (["look"], "module:function"),
        (["offered.tools:NOT_A_TOOL"], "a Python function"),
        (["offered.tools:Shelf"], "Shelf is a class"),
        (["offered.tools:reads", "offered.tools:reads"], "'reads'"),
        (["offered.tools:broken"], "has the parameter"),
        (["offered.tools:look", "offered.tools:look_again"], "'look'"),
    ],
)
def test_tools_that_cannot_be_loaded_are_found_at_the_start(
    registry: Registry, offered: Path, tmp_path: Path, tools: list[str], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[agents.gpt\] .*{why}"):
        registry.load(config=write(tmp_path, f"{MODEL}tools = {tools}\n"), modules=())


def test_an_agent_answers_and_only_what_was_made_is_closed(registry: Registry) -> None:
    registry.add_entry("shop", CeleryEntry(kind="celery", task="t", queue="q"))
    registry.add_entry("other", CeleryEntry(kind="celery", task="t", queue="q"))

    async def work() -> Answer:
        step: Any = None
        found = await registry.get("shop").backend.answer(Turn(input="x"), step)
        assert isinstance(found, Answer)
        await registry.aclose()
        return found

    assert asyncio.run(work()).value == "task: x"
    made: Any = registry.get("shop").backend
    assert made.closed == 1
    assert "backend" not in vars(registry.get("other"))


@pytest.mark.parametrize("field", ["backup", "compensation"])
@pytest.mark.parametrize("other", ["nobody", "main"])
def test_it_names_another_agent(registry: Registry, tmp_path: Path, field: str, other: str) -> None:
    path = tmp_path / "agents.toml"
    entry = 'kind = "scripted"\nreplies = [{ value = 1 }]\n'
    path.write_text(f'[agents.main]\n{entry}{field} = "{other}"\n')
    with pytest.raises(ConfigurationError, match=rf"\[agents.main\] {field}: '{other}' is not"):
        registry.load(config=path, modules=())


def test_compensations_are_found(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    entry = 'kind = "scripted"\nreplies = [{ value = 1 }]\n'
    patient = '{ agent = "undo", retry = { max_attempts = 20 } }'
    path.write_text(f"[agents.book]\n{entry}compensation = {patient}\n[agents.undo]\n{entry}")

    @agent(compensation="undo")
    def pay(_: Any) -> None:
        """Marked."""

    @agent
    def look(_: Any) -> None:
        """Has nothing to undo."""

    for function in (pay, look):
        mark = mark_of(function)
        assert mark is not None
        registry.add_function(function, mark)
    registry.load(config=path, modules=())
    found = registry.get("book").compensation
    assert found is not None
    assert (found.agent, found.retry.max_attempts) == ("undo", 20)
    assert registry.get("pay").compensation == Compensation(agent="undo")
    assert registry.get("look").compensation is None


def test_the_compensation_of_a_function_is_another_agent(registry: Registry) -> None:
    @agent(compensation="nobody")
    def pay(_: Any) -> None:
        """Marked."""

    mark = mark_of(pay)
    assert mark is not None
    registry.add_function(pay, mark)
    with pytest.raises(ConfigurationError, match=r"\[agents.pay\] compensation: 'nobody'"):
        registry.load(config=None, modules=())


def test_backups_are_found(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    entry = 'kind = "scripted"\nreplies = [{ value = 1 }]\n'
    path.write_text(f'[agents.main]\n{entry}backup = "other"\n[agents.other]\n{entry}')
    registry.load(config=path, modules=())
    assert registry.backup_of(registry.get("main")) is registry.get("other")
    assert registry.backup_of(registry.get("other")) is None
    assert registry.find("nobody") is None


# ---------------------------------------------------------------- agents that ask agents

ASKING = '[agents.{}]\nkind = "openai"\nmodel = "m"\ntools = {}\n'


def test_an_agent_has_the_effects_of_those_whom_it_asks(
    registry: Registry, offered: Path, tmp_path: Path
) -> None:
    asks = {"lead": ["agent:deputy"], "deputy": ["agent:mail"], "other": ["agent:whisper"]}
    text = "".join(ASKING.format(*one) for one in asks.items())
    text += ASKING.format("desk", []) + 'handoffs = ["clerk"]\n'
    text += ASKING.format("clerk", ["agent:mail"]) + 'handoffs = ["desk"]\n'  # back again
    path = write(tmp_path, text)
    registry.load(config=path, modules=("offered.agents",))
    assert {a.name: a.effects for a in registry if a.kind == "openai"} == {
        "lead": "effect",
        "deputy": "effect",
        "other": "idempotent",
        "desk": "effect",
        "clerk": "effect",
    }
    assert registry.may_hand_over("desk", "clerk")
    assert not registry.may_hand_over("desk", "desk")
    assert not registry.may_hand_over("clerk", "mail")
    registry.refuse_to_race(["other"])
    with pytest.raises(ConfigurationError, match="'lead' has effects"):
        registry.refuse_to_race(["lead"])


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ({"lead": ["agent:mial"]}, r"\[agents\.lead\] tools: 'mial' is not .* mean 'mail'\?"),
        ({"lead": ["agent:lead"]}, r"'lead' is not another agent"),
        ({"lead": ["agent:mail", "agent:mail"]}, "stands twice"),
        ({"lead": ["agent:"]}, "'' cannot|'' is not another agent"),
        ({"a": ["agent:b"], "b": ["agent:c"], "c": ["agent:a"]}, "a → b → c → a is a circle"),
    ],
)
def test_teams_that_cannot_be(
    registry: Registry, offered: Path, tmp_path: Path, asks: dict[str, Any], told: str
) -> None:
    path = write(tmp_path, "".join(ASKING.format(*one) for one in asks.items()))
    with pytest.raises(ConfigurationError, match=told):
        registry.load(config=path, modules=("offered.agents",))


def test_nobody_hands_over_to_who_is_not_there(registry: Registry, tmp_path: Path) -> None:
    path = write(tmp_path, ASKING.format("desk", []) + 'handoffs = ["clerc"]\n')
    with pytest.raises(ConfigurationError, match=r"\[agents\.desk\] handoffs: 'clerc' is not"):
        registry.load(config=path, modules=())


DEAF = """
[agents.shop]
kind = "celery"
task = "shop.check"
queue = "shop"

[agents.shops]
kind = "router"
among = ["service", "shop"]

[agents.service]
kind = "http"
url = "http://127.0.0.1:1/"

[agents.services]
kind = "router"
among = ["service"]
"""


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("shop", r"\[agents\.desk\] handoffs: 'shop' is celery, .* tools = \[\"agent:shop\"\]"),
        ("shops", r"'shop' is celery, .* tools = \[\"agent:shops\"\]"),
        ("mail", "'mail' is a function without a parameter messages"),
        ("service", None),
        ("services", None),
        ("chats", None),
    ],
)
def test_nobody_hands_over_to_who_is_told_no_conversation(
    registry: Registry, offered: Path, tmp_path: Path, to: str, told: str | None
) -> None:
    @agent
    def chats(text: str, messages: list[Any]) -> str:
        return text

    mark = mark_of(chats)
    assert mark is not None
    registry.add_function(chats, mark)
    path = write(tmp_path, ASKING.format("desk", []) + f'handoffs = ["{to}"]\n{DEAF}')
    refused: Any = nullcontext() if told is None else pytest.raises(ConfigurationError, match=told)
    with refused:
        registry.load(config=path, modules=("offered.agents",))


def test_a_model_is_told_what_the_agents_are_for(
    registry: Registry, offered: Path, tmp_path: Path
) -> None:
    """Also of those that come after it, of modules."""
    path = write(tmp_path, ASKING.format("lead", ["agent:mail"]))
    registry.load(config=path, modules=("offered.agents",))
    backend: Any = registry.get("lead").backend
    step: Any = None  # nothing of it is looked at: no toolset is asked
    offer = asyncio.run(backend._tools.offered(step))
    assert offer.specs[0].description.endswith("Sends it.")
