from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import pytest

from app.execution.request import STEP_REQUEST
from app.layout import qualified
from app.pool.default import COROUTINES
from celery_agents import names
from tests.support.house import trees

#: Packages that the wheel has, too.
INSTALLED = ("agents", "api", "app", "beat_schedules", "celery_agents", "tasks")


def test_in_a_checkout_a_name_is_itself() -> None:
    assert qualified("app.pool:CoroutinePool") == "app.pool:CoroutinePool"


@pytest.mark.parametrize("path", [COROUTINES, STEP_REQUEST, qualified("app.cli.commands:commands")])
def test_what_is_named_is_there(path: str) -> None:
    module, _, attribute = path.partition(":")
    assert hasattr(importlib.import_module(module), attribute)


def test_nobody_is_told_to_run_what_a_checkout_alone_has() -> None:
    """Messages name the command line that the wheel has, too; docstrings are for readers here."""
    told = [
        (path, text)
        for path, tree in trees()
        if path.parts[0] in INSTALLED
        for text in texts(tree)
        if "celery -A app" in text
    ]
    assert told == []
    assert any(names.COMMAND in text for _, tree in trees() for text in texts(tree))


def texts(tree: ast.Module) -> Iterator[str]:
    """All texts of a module but its docstrings, and whatever else is not used."""
    unused = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in unused:
            yield str(node.value)


def test_the_command_line_that_people_are_told_is_there() -> None:
    program, option, app, group = names.COMMAND.split()
    assert (program, option, group) == ("celery", "-A", "agents")
    assert importlib.import_module(app).celery.agents_cli
