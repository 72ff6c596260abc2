from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.state import ROOT
from deploy.wheel import HOME, PACKAGES, UnplaceableError, place, rewrite, statements

#: Text that names a module of the service, as Celery takes it.
_PATH = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+:\w+")


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel has, with packages of others beside it."""
    root = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("service", "__pycache__")
    shutil.copytree(ROOT / "celery_agents", root / "celery_agents", ignore=ignored)
    place(ROOT, root.joinpath(*HOME.split(".")))
    for name in PACKAGES:
        (root / name).mkdir()
        (root / name / "__init__.py").write_text("")
    return root


#: A line that imports one of them, or may: what else stands in a file has to be read by few.
_IMPORTS = re.compile(rf"\b(from|import)\b[^\n]*(?<![\w.])({'|'.join(PACKAGES)})\b")
#: What is between the parts of a text that are written one after another.
_JOINED = re.compile(r"""["']\s*[rbfu]*["']""")


def _trees(folder: Path, having: re.Pattern[str]) -> Iterator[tuple[Path, ast.Module]]:
    """Give the modules in whose source this is found; lines and texts that go on are one."""
    for file in folder.rglob("*.py"):
        text = file.read_text("utf-8")
        if having.search(_JOINED.sub("", text.replace("\\\n", " "))):
            yield file, ast.parse(text)


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


def test_no_import_of_the_wheel_is_of_the_top_level(placed: Path) -> None:
    for file, tree in _trees(placed / "celery_agents", _IMPORTS):
        for node in statements(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not PACKAGES & {name.split(".")[0] for name in names}, (file, names)


def test_modules_named_in_text_are_qualified() -> None:
    """Those are not rewritten, so the source has to make their names."""
    for package in sorted(PACKAGES - {"deploy"}):
        for file, tree in _trees(ROOT / package, _PATH):
            nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Call | ast.Constant)]
            calls = [n for n in nodes if isinstance(n, ast.Call)]
            named = [c for c in calls if getattr(c.func, "id", "") == "qualified"]
            good = {id(argument) for call in named for argument in call.args}
            for node in nodes:
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found = _PATH.fullmatch(node.value)
                    assert not found or id(node) in good, f"{file}: {node.value}"


def test_the_app_of_the_wheel_names_its_own_modules(placed: Path) -> None:
    code = f"""
from kombu.utils.imports import symbol_by_name
from {HOME} import celery, install, tool
conf = celery.conf
for name in (conf.broker_transport, conf.worker_consumer, conf.result_backend.split("+")[0]):
    print(symbol_by_name(name).__module__)
celery.loader.import_default_modules()
import sys
print(celery.tasks["agents.ask"].run.__module__, celery.agents_cli)
print([sys.modules[n].__file__ for n in {sorted(PACKAGES)} if n in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=placed,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(placed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        f"{HOME}.app.messaging.transport",
        f"{HOME}.app.messaging.consumer",
        f"{HOME}.app.messaging.results",
        f"{HOME}.tasks.ask {HOME}.app.cli.commands:commands",
        "[]",
    ], done.stderr
