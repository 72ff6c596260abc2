"""The code blocks and links of a Markdown page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deploy.local.state import ROOT

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_OUTPUT = "#> "


@dataclass(frozen=True)
class Block:
    """One fenced block; "python fragment" is shown and not run, "python a.py" is what a.py has."""

    language: str
    fragment: bool
    file: str
    code: str
    line: int

    @property
    def printed(self) -> list[str]:
        """What the block says that it prints."""
        lines = self.code.splitlines()
        return [line.strip()[len(_OUTPUT) :] for line in lines if line.strip().startswith(_OUTPUT)]

    @property
    def padded(self) -> str:
        """The code at its own line numbers, so that a traceback points into the page."""
        return "\n" * self.line + self.code


def pages() -> list[Path]:
    """All pages: those of the top level and those of docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        name, _, rest = match["info"].partition(" ")
        if name == language:
            line = text.count("\n", 0, match.start("code"))
            fragment, file = rest == "fragment", "" if rest == "fragment" else rest
            found.append(Block(name, fragment, file, match["code"], line))
    return found


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Targets of links, those to other sites left out."""
    targets = [m["target"] for m in _LINK.finditer(prose(page))]
    return [t for t in targets if not t.startswith(("http:", "https:", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub."""
    heads = re.findall(r"^#+\s+(.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}
