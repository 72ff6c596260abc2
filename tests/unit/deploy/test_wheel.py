from __future__ import annotations

import ast
import re

import pytest

from deploy.local.state import ROOT
from deploy.wheel import HOME, PACKAGES, UnplaceableError, rewrite
from tests.support.wheel import modules_having

#: Text that names a module of the service, as Celery takes it.
_PATH = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+:\w+")


@pytest.mark.parametrize(
    ("source", "placed"),
    [
        ("from app.settings import Settings", f"from {HOME}.app.settings import Settings"),
        ("from app import factory", f"from {HOME}.app import factory"),
        ("from   tasks import ask", f"from {HOME}.tasks import ask"),
        ("import agents.base as base", f"import {HOME}.agents.base as base"),
        ("import os, app as a, tasks as t", f"import os, {HOME}.app as a, {HOME}.tasks as t"),
        ("é = 1; from app import x", f"é = 1; from {HOME}.app import x"),
        (
            "if x:\n    from agents import (\n        a,\n    )\n",
            f"if x:\n    from {HOME}.agents import a",
        ),
        ("from appliance import x", "from appliance import x"),
        ("from . import app", "from . import app"),
        ("from .app import x", "from .app import x"),
        ("from celery import app", "from celery import app"),
        ("import celery.app", "import celery.app"),
        ("'''\nfrom app import x\n'''", "'''\nfrom app import x\n'''"),
    ],
)
def test_imports_are_rewritten_and_nothing_else(source: str, placed: str) -> None:
    assert ast.dump(ast.parse(rewrite(source))) == ast.dump(ast.parse(placed))


@pytest.mark.parametrize(
    "source", ["import app", "import os, tasks.ask", "def f():\n import agents"]
)
def test_what_binds_a_package_of_the_checkout_is_refused(source: str) -> None:
    with pytest.raises(UnplaceableError, match=r"here\.py:\d: import \w+(\.ask)? binds"):
        rewrite(source, "here.py")


def test_modules_named_in_text_are_qualified() -> None:
    """Those are not rewritten, so the source has to make their names."""
    for package in sorted(PACKAGES - {"deploy"}):
        for file, tree in modules_having(ROOT / package, _PATH):
            nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Call | ast.Constant)]
            calls = [n for n in nodes if isinstance(n, ast.Call)]
            named = [c for c in calls if getattr(c.func, "id", "") == "qualified"]
            good = {id(argument) for call in named for argument in call.args}
            for node in nodes:
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found = _PATH.fullmatch(node.value)
                    assert not found or id(node) in good, f"{file}: {node.value}"
