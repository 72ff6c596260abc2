"""The project's own figures, read from its source: ``python -m tests.support.house``."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from deploy.wheel import statements

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "app", "agents", "celery_agents", "tasks", "deploy", "beat_schedules")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
#: Entries of the catalog, which nobody else may tell apart.
ENTRIES = {
    *("FunctionEntry", "ModelEntry", "HttpEntry", "CeleryEntry", "ScriptedEntry", "Described"),
}
#: The same idea as two sides, or a row and its reader, have it.
ONE_IDEA = {
    "Channel": "kombu's, of the client and of the worker",
    "DeadLetters": "the worker's, and the client's sight of them",
    "Admission": "the answer of a breaker, of its policy and of Redis",
    "Run": "its row, and the client's sight of it",
    "Step": "its row, and the step as its code sees it",
    "Transport": "kombu's, of the client and of the worker",
}


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    """Each module with its syntax, without migrations."""
    return [
        (path.relative_to(ROOT), ast.parse(path.read_text()))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "versions" not in path.parts
    ]


def lines(node: Definition) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@cache
def sizes(*kinds: type[ast.AST]) -> list[tuple[int, str]]:
    """Lines of each definition of these kinds, with its place."""
    return [
        (lines(node), f"{path}:{node.name}")
        for path, tree in trees()
        for node in statements(tree)
        if isinstance(node, Definition) and isinstance(node, kinds)
    ]


def functions() -> list[tuple[int, str]]:
    """Lines of each function, with its place."""
    return sizes(ast.FunctionDef, ast.AsyncFunctionDef)


def classes() -> list[tuple[int, str]]:
    """Lines of each class, with its place."""
    return sizes(ast.ClassDef)


def of_two_meanings() -> dict[str, list[str]]:
    """Public classes of one name in several modules, which are not one idea."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path))
    return {n: places for n, places in found.items() if len(places) > 1 and n not in ONE_IDEA}


def told_apart() -> list[str]:
    """Places outside of the catalog that ask of which class an entry is."""
    named = re.compile("|".join(ENTRIES))
    return [
        f"{path}:{node.lineno}"
        for path, tree in trees()
        if "catalog" not in path.parts and named.search((ROOT / path).read_text())
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "isinstance"
        and any(isinstance(n, ast.Name) and n.id in ENTRIES for n in ast.walk(node.args[1]))
    ]


def folders() -> dict[str, int]:
    """Modules of each folder of ``app``."""
    found: defaultdict[str, int] = defaultdict(int)
    for path, _ in trees():
        if path.parts[0] == "app":
            found[str(path.parent)] += 1
    return dict(found)


def long_share() -> float:
    """The share of functions above 30 lines."""
    found = [count for count, _ in functions()]
    return sum(count > 30 for count in found) / len(found)


def main() -> None:
    """Print the table."""
    print(f"functions            {len(functions())}, above 30 lines {100 * long_share():.2f} %")
    print(f"largest class        {max(classes())}")
    print(f"entries told apart   {told_apart()}")
    print(f"names of two ideas   {of_two_meanings()}")
    for folder, count in folders().items():
        print(f"{folder:20} {count} modules")


if __name__ == "__main__":
    main()
