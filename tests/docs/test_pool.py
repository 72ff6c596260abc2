"""The pool's page names each thing of Celery's that a process of ours replaces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from deploy.local.state import ROOT

PAGE = (ROOT / "docs" / "pool.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## What is replaced in Celery")[2].partition("\n## ")[0]
OTHERS = {"celery", "kombu", "billiard", "vine", "redis", "flower", "redbeat"}
#: A line that imports one of them: no other module is looked into.
IMPORTS = re.compile(rf"^\s*(from|import)\b[^\n]*\b({'|'.join(OTHERS)})\b", re.MULTILINE)


def imported(tree: ast.AST) -> dict[str, str]:
    """Names that a module takes from Celery and its kin, and where from."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            for a in node.names:
                top = a.name.split(".")[0]
                names[a.asname or top] = a.name if a.asname else top
    return {name: full for name, full in names.items() if full.split(".")[0] in OTHERS}


def replaced(source: str) -> Iterator[str]:
    """What the code of a module assigns to in modules and classes of others."""
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            root, _, rest = ast.unparse(node).partition(".")
            if root in names:
                yield f"{names[root]}.{rest}"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr":
            root = ast.unparse(node.args[0]).partition(".")[0]
            if root in names:
                yield names[root]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from celery.app import trace\ntrace.X = 1", ["celery.app.trace.X"]),
        (
            "import kombu.transport as t\nt.TRANSPORT_ALIASES = {}",
            ["kombu.transport.TRANSPORT_ALIASES"],
        ),
        ("from billiard import einfo as e\ne._Frame.Code = 1", ["billiard.einfo._Frame.Code"]),
        ("import celery.app\ncelery.app.trace.X = 1", ["celery.app.trace.X"]),
        ("from celery import Celery\nsetattr(Celery, 'x', 1)", ["celery.Celery"]),
        ("from celery import Celery\napp = Celery()\napp.x = 1", []),
    ],
)
def test_assignments_are_found(source: str, names: list[str]) -> None:
    assert list(replaced(source)) == names


def test_all_that_is_replaced_is_on_the_page() -> None:
    folders = ("app", "celery_agents", "agents", "tasks")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    texts = (path.read_text("utf-8") for path in modules)
    found = {name for text in texts if IMPORTS.search(text) for name in replaced(text)}
    assert {"celery.app.trace.ExceptionInfo", "billiard.einfo._Frame.Code"} <= found
    assert {name for name in found if f"`{name}`" not in TABLE} == set()
