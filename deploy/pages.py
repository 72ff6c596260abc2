"""A hook of MkDocs (mkdocs.yml): pages of docs/ as the site's Markdown reads them."""

from __future__ import annotations

import re
from typing import Any

#: A block's second word says what the tests of the pages do with it, or which file it shows.
_FENCE = re.compile(r"^```(?P<language>\w+) (?P<rest>\S+)$", re.MULTILINE)
#: Files of the checkout are not on the site.
_OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\(\.\./[^)]*\)")


def _fence(match: re.Match[str]) -> str:
    title = "" if match["rest"] == "fragment" else f' title="{match["rest"]}"'
    return f"```{match['language']}{title}"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text in the dialect of the site."""
    return _OUTSIDE.sub(r"\g<text>", _FENCE.sub(_fence, markdown))
