"""The site of the pages: `./run site`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.state import ROOT
from deploy.pages import on_page_markdown

#: What a page names to be loaded of others.
_LOADED = re.compile(r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"')


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "site"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the site is made of."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "deploy").mkdir()
    for name in ("mkdocs.yml", "deploy/pages.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_it_builds_without_a_warning_and_has_every_page(checkout: Path) -> None:
    built = build(checkout)
    assert built.returncode == 0, built.stderr
    assert "not included in the" not in built.stderr  # each page stands in the navigation
    site = checkout / "site"
    named = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert named <= {page.stem for page in site.glob("*.html")}
    for page in site.glob("*.html"):
        text = page.read_text("utf-8")
        assert "```" not in text, f"{page.name} has a block that was not read as one"
        assert not _LOADED.findall(text), page.name


def test_a_dead_link_is_an_error(checkout: Path) -> None:
    """Of two pages, in one build of three: each of them is told."""
    shutil.rmtree(checkout / "docs")
    (checkout / "docs").mkdir()
    pages = {"faq": "[gone](nowhere.md)", "tools": "[gone](client.md#nowhere)", "client": "# Here"}
    for name, text in pages.items():
        (checkout / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    (checkout / "mkdocs.yml").rename(checkout / "whole.yml")
    (checkout / "mkdocs.yml").write_text("INHERIT: whole.yml\nnav: [faq.md, tools.md, client.md]\n")
    built = build(checkout)
    assert built.returncode == 1
    told = [line for line in built.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert [line for line in told if "faq.md" in line and "nowhere.md" in line]
    assert [line for line in told if "tools.md" in line and "client.md#nowhere" in line]


@pytest.mark.parametrize(
    ("page", "site"),
    [
        ("```python fragment\nx\n```", "```python\nx\n```"),
        ("```python shop.py\nx\n```", '```python title="shop.py"\nx\n```'),
        ("```toml\nx = 1\n```", "```toml\nx = 1\n```"),
        ("see [`a.py`](../bench/a.py) and [b](b.md)", "see `a.py` and [b](b.md)"),
    ],
)
def test_a_page_in_the_dialect_of_the_site(page: str, site: str) -> None:
    assert on_page_markdown(page, page=None) == site
