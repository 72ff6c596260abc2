"""The service in the wheel: its packages below ``celery_agents.service``, their imports rewritten.

``api``, ``app``, ``agents`` and ``tasks`` are names that other distributions and every second
project have, so the wheel puts none of them at the top level. Names of modules in text are not
rewritten: the source makes them with ``app.layout.qualified``. Run by the build hook
(hatch_build.py); needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

HOME = "celery_agents.service"
#: What of the checkout goes below it, each a package or a module of one.
PLACED = (
    "api",
    "app",
    "agents",
    "tasks",
    "beat_schedules",
    "deploy/__init__.py",
    "deploy/flowerconfig.py",
    # the embedded broker of the test kit
    *(f"deploy/local/{name}.py" for name in ("__init__", "child", "locks", "output", "servers")),
    "deploy/local/state.py",
)
#: The packages whose names are rewritten.
PACKAGES = frozenset(name.split("/", maxsplit=1)[0] for name in PLACED)


class UnplaceableError(Exception):
    """An import that has no form of the same meaning below another package."""


def place(root: Path, target: Path) -> None:
    """Write ``celery_agents/service`` of the wheel to ``target``, from the checkout ``root``."""
    own = root.joinpath(*HOME.split("."))
    shutil.copytree(own, target, ignore=_NO_CACHES, dirs_exist_ok=True)
    for name in PLACED:
        source, copy = root / name, target / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=_NO_CACHES)
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copy)
    for file in target.rglob("*.py"):
        file.write_text(rewrite(file.read_text("utf-8"), str(file)), "utf-8")


def rewrite(source: str, filename: str = "<source>") -> str:
    """The same module with absolute imports of the placed packages below :data:`HOME`.

    Raises:
        UnplaceableError: ``import app.settings`` binds ``app``, which no import below does.
    """
    lines = source.splitlines(keepends=True)
    nodes = [n for n in statements(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        if isinstance(node, ast.ImportFrom) and _is_placed(node):
            _insert(lines, node.lineno, node.col_offset + len("from "), f"{HOME}.")
        elif isinstance(node, ast.Import):
            for alias in reversed(node.names):
                if alias.name.split(".")[0] not in PACKAGES:
                    continue
                if alias.asname is None:
                    raise UnplaceableError(
                        f"{filename}:{alias.lineno}: import {alias.name} binds its first part. "
                        f"Write 'from … import …' or 'import {alias.name} as …'."
                    )
                _insert(lines, alias.lineno, alias.col_offset, f"{HOME}.")
    return "".join(lines)


def statements(tree: ast.Module) -> list[ast.AST]:
    """Return a module and its statements, wherever they stand, and not what those are made of.

    They are a tenth of the nodes, and all that imports and definitions can be.
    """
    found: list[ast.AST] = [tree]
    for node in found:
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):  # a lambda's body is an expression
                found += inner
    return found


def _is_placed(node: ast.ImportFrom) -> bool:
    return not node.level and (node.module or "").split(".")[0] in PACKAGES


def _insert(lines: list[str], lineno: int, offset: int, text: str) -> None:
    """Insert at a position as ``ast`` counts: lines from 1, columns in bytes of UTF-8."""
    line = lines[lineno - 1].encode()
    lines[lineno - 1] = (line[:offset] + text.encode() + line[offset:]).decode()


_NO_CACHES = shutil.ignore_patterns("__pycache__")
