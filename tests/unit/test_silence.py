"""No error is swallowed in silence: what is caught is raised, handed on, or noted.

``celery_agents/noted.py`` counts it and tells it in the log. What is left is an answer (this text
is no number) and not a fault; each such place is listed here with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from deploy.local.state import ROOT

PACKAGES = ("api", "app", "agents", "tasks", "celery_agents", "beat_schedules")
#: Types whose raising is an answer as a rule: they say something of a value, or that there is none.
ANSWERS = {
    *("ValueError", "TypeError", "KeyError", "IndexError", "LookupError", "AttributeError"),
    *("ArithmeticError", "OverflowError", "RecursionError", "ImportError", "ValidationError"),
    *("UnicodeEncodeError", "DecodeError"),
    *("FileNotFoundError", "FileExistsError"),
    *("_UNREADABLE", "queue.Empty", "ProcessLookupError", "PermissionError", "NoScriptError"),
}
#: What may not be noted, by file and function, and why.
EXPLAINED = {
    ("app/testing/process.py", "_fork"): "who started it is gone: it ends, too",
    ("app/testing/process.py", "_kill"): "it has ended already: what was wanted",
    ("app/testing/worker.py", "start"): "whoever waits for the worker is told of its end",
    ("app/testing/worker.py", "stop"): "it has ended already: what was wanted",
    ("agents/flows/instance.py", "_close"): "what code does that nobody runs any more is nobody's",
    ("agents/flows/loop.py", "_turn"): "the task has the error, and ends by it",
    ("agents/flows/pattern.py", "dropped"): "it is let go of, and was refused before",
    ("agents/flows/swarm.py", "_news"): "whoever may signal may say anything",
    ("agents/frameworks/exchange.py", "_kept"): "bytes that are no text are kept otherwise",
    ("agents/frameworks/langchain.py", "_from_thread"): "a thread without a loop is what it is for",
    ("agents/frameworks/requests.py", "_told"): "its SDK tells its user what is wrong with it",
    ("agents/catalog/kinds.py", "_has_endpoint"): "the answer to the question",
    ("agents/plugins/found.py", "_in_folders"): "reading the file says what is wrong with it",
    ("agents/plugins/found.py", "_told"): "what is left of a package says so as its problem",
    ("agents/plugins/loading.py", "error_text"): "the error that is told is the first one",
    ("api/mcp/asking.py", "_piped"): "a client that refuses to be asked has said so",
    (
        "agents/toolsets/mcp/loopback.py",
        "serve",
    ): "it says nothing, or too much: no browser",
    ("agents/toolsets/mcp/oauth.py", "_asked"): "the SDK's way to say that it knows no more",
    ("agents/toolsets/skills/folders.py", "_is_there"): "the answer to the question",
    ("agents/toolsets/openapi/requests.py", "_raw"): "what is no base64 is the text itself",
    ("agents/toolsets/openapi/schemas.py", "_drop_malformed"): "a pattern nobody can hold goes",
    ("celery_agents/client/swarms/roll.py", "add"): "whoever may append may have written anything",
    ("app/caching/shared.py", "_found"): "of a key that is gone: a miss, which is counted",
    ("app/caching/shared.py", "_vector"): "the same: it is looked at no more",
    ("app/concurrency/usage.py", "memory_bytes"): "no Linux says it otherwise",
    ("app/journal/steps/joins.py", "_complete"): "the pattern reads it, too, and ends with that",
    ("app/journal/tables/encryption.py", "_unpacked"): "the bytes of what was no message",
    ("celery_agents/sealing.py", "renew"): "it stays as it is, and is counted as left",
    ("celery_agents/sealing.py", "open_payload"): "the last place that it may be of raises",
    ("agents/keywords.py", "_pattern"): "a pattern of another dialect bounds nothing here",
    ("agents/guarding/phones.py", "_valid"): "the answer to the question",
    ("agents/models/strict.py", "strict_form"): "the answer to the question",
    ("agents/toolsets/builtin/files/changing.py", "_applied"): "the answer to the question",
    ("agents/toolsets/builtin/files/reading.py", "_hits"): "what is no text has no lines",
    ("agents/toolsets/builtin/files/root.py", "below"): "it went, or became a link, meanwhile",
    ("agents/toolsets/builtin/files/texts.py", "decoded"): "another encoding is looked for",
    ("agents/toolsets/builtin/files/trees.py", "_rules_of"): "without the file nothing is left out",
    ("agents/toolsets/builtin/files/trees.py", "_rule"): "a line that no file fits",
    ("agents/toolsets/builtin/moments.py", "usual_date"): "the answer to the question",
    ("agents/tools/making.py", "_made"): "the first is raised; the journal has the others",
    ("agents/tools/code/sandbox.py", "_end"): "it wants something, or has ended: who watches looks",
    ("agents/tools/code/sandbox.py", "_awaits"): "the sandbox says what is wrong with the text",
    (
        "celery_agents/client/evaluating/evaluate.py",
        "_ended",
    ): "those whose time is over are failed cases",
    ("celery_agents/client/caches.py", "warm"): "their outcomes are counted",
    ("celery_agents/client/bus/topics.py", "_append"): "a hint: who listens looks by himself",
    ("celery_agents/client/bus/topics.py", "_wait"): "the same; what is asked next says it",
    ("celery_agents/client/swarms/swarm.py", "_changed"): "somebody was quicker: decided anew",
    ("app/journal/replicated/store.py", "change"): "somebody was quicker: decided anew",
    ("app/journal/writing/appending.py", "appended"): "the ordinary way finds out why",
    ("celery_agents/wire/pools.py", "_end"): "it is closed all the same, and nobody uses it",
    ("celery_agents/wire/from_loop.py", "close_all"): "its loop is closed: no task can do it",
    ("celery_agents/client/events.py", "put"): "its loop is closed: nobody watches any more",
    ("app/load/trial.py", "arrive"): "whoever stops the test is told so in its report",
    ("app/load/trial.py", "drain"): "whoever stops the test is told so in its report",
    ("app/maintenance/endpoint.py", "_shut"): "it is closed already: what was wanted",
    ("app/journal/schema/engine.py", "_make_private"): "whoever opens the file says it",
    ("app/cli/opened.py", "_of_schema"): "the command ends with the error that it had before",
    ("app/maintenance/endpoint.py", "alive"): "the page says it",
    ("app/maintenance/dead_letters.py", "_tenant"): "whoever takes the message says what is wrong",
    ("app/maintenance/endpoint.py", "service_metrics"): "the page says it",
    ("app/concurrency/fibers.py", "alone"): "there is no loop here: the answer to the question",
    (
        "app/messaging/envelope.py",
        "_raise_protocol",
    ): "a body that cannot be read is told as having no headers",
    (
        "app/journal/writing/connection.py",
        "shoot",
    ): "what was not written this way is written the other way",
    ("app/journal/tables/workers.py", "_is_zombie"): "no Linux, or gone just now",
    (
        "app/journal/retention/chunks.py",
        "delete_portion",
    ): "the portion was too large; a smaller one goes",
    (
        "app/journal/writing/writer.py",
        "_shoot",
    ): "what was not written this way is written the other way",
    ("app/concurrency/loop.py", "_run"): "the coroutine's task has the error, and hands it on",
    ("app/concurrency/loop.py", "stop"): "they were just cancelled, and are awaited for that alone",
    ("app/pool/pool.py", "_let_leave"): "said at the end of the process",
    (
        "app/pool/pool.py",
        "run",
    ): "killed where it waits, or told to Celery's request with its traceback",
    ("app/execution/calls/experience.py", "experienced"): "so small a space learns nothing of it",
    ("app/execution/calls/experience.py", "_seen"): "whoever is asked says so",
    ("app/execution/runtime.py", "close"): "said at the end of the process",
    ("app/messaging/json_codec.py", "_object"): "it is handed on as what no value can be",
    ("app/settings.py", "_text"): "the loader of that file says it",
    ("app/execution/attempts/performing.py", "valued"): "cancelled: it ends as such",
    ("agents/catalog/probes.py", "_error_of"): "that it came late is what was to be found out",
    ("celery_agents/client/control.py", "_user"): "a user without a name has a number",
    ("api/operations.py", "health"): "the answer says so, and Redis and the journal note it",
    ("api/openai/previous.py", "run_of"): "what is no id is an id of no run",
    ("api/openai/previous.py", "_tree"): "the request is refused with an error of its own",
    ("api/mcp/listening/current.py", "_stamp"): "a file that is not there is another one, too",
    ("api/mcp/listening/tasks.py", "begin"): "a task that is not for who asks is as none",
    ("api/mcp/listening/tasks.py", "changed"): "a task that is not kept any more has no state",
    ("api/streams/leaving.py", "serve"): "who ended it at a keyboard has seen it end",
    ("api/mcp/listening/marks.py", "_of_run"): "a run that is not for who asks is as none",
    ("api/mcp/mounting.py", "own_version"): "a checkout that is not installed has none",
    ("api/mcp/resources.py", "_run"): "the request is refused with an error of its own",
    ("api/ui/door.py", "handled"): "the page says it",
    ("app/access/tokens.py", "check"): "anybody may send a bad token: the answer says so",
    ("celery_agents/tls.py", "usable"): "files that cannot be used are what was to be found out",
    ("celery_agents/client/earlier.py", "collect"): "whoever asks for the errors gets them",
    ("celery_agents/values.py", "_shown"): "what cannot show itself is shown by its type",
    ("app/concurrency/watchdog.py", "_work"): "the loop is closed: the end of the watch",
    ("app/concurrency/threads.py", "ends"): "the loop is closed, and nobody waits there",
}


@dataclass(frozen=True)
class Place:
    file: str
    function: str
    line: int
    what: str


def swallowed(source: str, file: str) -> Iterator[Place]:
    """Handlers and ``suppress`` of a module that neither raise, nor note, nor hand the error on."""

    def walk(node: ast.AST, function: str) -> Iterator[Place]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        what = None
        if isinstance(node, ast.ExceptHandler) and not _answers(node) and not _told(node):
            what = f"except {'' if node.type is None else ast.unparse(node.type)}"
        elif _suppresses(node):
            what = ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg == "return_exceptions":
            what = f"return_exceptions={ast.unparse(node.value)}"
        if what is not None:
            yield Place(file, function, getattr(node, "lineno", 0), what)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function)

    yield from walk(ast.parse(source), "")


def _suppresses(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if not name.endswith("suppress"):
        return False
    return not {ast.unparse(kind) for kind in node.args} <= ANSWERS


def _answers(handler: ast.ExceptHandler) -> bool:
    if handler.type is None or any(_is_log(n) for b in handler.body for n in ast.walk(b)):
        return False
    parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(part) for part in parts} <= ANSWERS


def _told(handler: ast.ExceptHandler) -> bool:
    """Whether it raises, notes, or does something with the error beyond logging it."""
    nodes = [n for statement in handler.body for n in ast.walk(statement)]
    logged = {id(m) for n in nodes if _is_log(n) for m in ast.walk(n)}
    return any(
        isinstance(n, ast.Raise)
        or (isinstance(n, ast.Call) and ast.unparse(n.func).split(".")[-1] == "note")
        or (isinstance(n, ast.Name) and n.id == handler.name and id(n) not in logged)
        for n in nodes
    )


def _is_log(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return ast.unparse(node.func).startswith(("log.", "logging."))


#: Without one of these words a module swallows nothing.
_SWALLOWS = re.compile(r"\bexcept\b|suppress|\breturn_exceptions\b")


@cache
def places() -> list[Place]:
    files = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    return [
        place
        for path in files
        if _SWALLOWS.search(text := path.read_text(encoding="utf-8"))
        for place in swallowed(text, str(path.relative_to(ROOT)))
    ]


def test_nothing_is_swallowed_in_silence() -> None:
    silent = [p for p in places() if (p.file, p.function) not in EXPLAINED]
    assert silent == [], "note it (celery_agents/noted.py), or explain it here"


def test_every_explanation_has_its_place() -> None:
    assert set(EXPLAINED) == {(p.file, p.function) for p in places()} & set(EXPLAINED)


HANDLERS = {
    "pass": ("except Exception: pass", True),
    "bare": ("except: return None", True),
    "debug": ("except Exception as e: log.debug('no', exc_info=e)", True),
    "logged without a count": ("except OSError as e: log.warning('no %s', e)", True),
    "a value's error, logged": ("except ValueError: log.warning('no')", True),
    "root of ours": ("except AgentsError: return False", True),
    "a tuple with a fault": ("except (ValueError, RedisError): return None", True),
    "raised": ("except Exception as e: raise X() from e", False),
    "noted": ("except Exception as e: note(log, 'x', 'no', error=e)", False),
    "handed on": ("except Exception as e: reply.set_exception(e)", False),
    "an answer": ("except (ValueError, KeyError): return None", False),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers(name: str) -> None:
    handler, silent = HANDLERS[name]
    source = f"def f():\n    try:\n        g()\n    {handler}\n"
    assert bool(list(swallowed(source, "x.py"))) is silent


@pytest.mark.parametrize(
    "line",
    [
        "with suppress(OSError): g()",
        "with contextlib.suppress(E): g()",
        "with suppress(ValueError, RedisError): g()",
    ],
)
def test_suppress(line: str) -> None:
    assert [p.function for p in swallowed(f"def f():\n    {line}\n", "x.py")] == ["f"]


def test_suppressed_answers() -> None:
    source = "def f():\n    with suppress(ValueError, KeyError): g()\n"
    assert list(swallowed(source, "x.py")) == []


def test_gathered_errors() -> None:
    source = "async def f():\n    await gather(*x, return_exceptions=True)\n"
    assert [p.what for p in swallowed(source, "x.py")] == ["return_exceptions=True"]
