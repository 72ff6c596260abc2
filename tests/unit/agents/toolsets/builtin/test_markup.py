"""HTML as Markdown: what the library writes, by a shorter way to it."""

from __future__ import annotations

import random
from typing import Any

import bs4
import markdownify
import pytest
from bs4.element import NavigableString

from agents.toolsets.builtin.markup import _converter, as_markdown
from agents.toolsets.builtin.soup import page_of
from tests.support.drawn import costly

TAGS = (
    "h1 p b i a pre code ul ol li table tr td th div blockquote img br hr x-y sup dl dt dd caption "
    "textarea template script video"
)
TEXTS = (
    *("text", "a *b* _c_", " ", "\n\n", "x\n  y", "&lt;b&gt;", "<!-- c -->", "5. x", "# h"),
    *("&#233;&#x80;&nope;&", "<br/>", "</br>", "</p>", "<p/>", "<?pi x>", "<![CDATA[x]]>", "\xa0"),
    *("<!DOCTYPE html>", "<B>", "<a href=/y href=/z>", "<img src='s' alt=t>", "</", "<!x>", "\t"),
)


def page(chance: random.Random, depth: int) -> str:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(TEXTS)
    tag = chance.choice(TAGS.split())
    inner = "".join(page(chance, depth - 1) for _ in range(chance.randint(0, 4)))
    given = chance.choice(["", " href=/x", " class=c", " start=3"])
    return f"<{tag}{given}>{inner}" + (f"</{tag}>" if chance.random() < 0.9 else "")


def shape(root: Any) -> list[Any]:
    """All that is in a tree, with what each stands beside."""
    return [
        (
            str(one) if isinstance(one, NavigableString) else (one.name, one.get("href")),
            isinstance(one, bs4.Comment | bs4.Doctype),
            *(str(getattr(one, side)) for side in ("next_sibling", "previous_sibling")),
            one.parent and one.parent.name,
        )
        for one in root.descendants
    ]


@pytest.mark.parametrize("links", [True, False])
def test_it_is_what_the_library_writes(*, links: bool) -> None:
    chance = random.Random(7)
    strip = [] if links else ["a", "img"]
    for _ in range(costly(400)):
        html = page(chance, 4)
        wanted = markdownify.markdownify(html, heading_style="ATX", strip=strip)
        assert as_markdown(html, links=links) == wanted
        assert shape(page_of(html)) == shape(bs4.BeautifulSoup(html, "html.parser"))


def test_names_that_others_make_up_are_not_kept() -> None:
    as_markdown("<made-up>a</made-up>", links=True)
    assert not _converter(True)[1].convert_fn_cache


def test_other_searches_are_the_librarys_own() -> None:
    """Of a version of Markdown's writer that looks for more than an element's name."""
    bold: Any = page_of("<ul class=c><li><b>x</b></li></ul>").b
    assert bold.find_parent("ul") is bold.find_parent(["ol", "ul"]) is bold.parent.parent
    assert bold.find_parent("ul", class_="d") is None


@pytest.mark.parametrize("name", ["soup", "list", "fn_cache", "fn-cache", "fn:cache", "hn", "h"])
def test_what_the_library_names_like_tags_is_none(name: str) -> None:
    assert as_markdown(f"<p>a <{name}>b</{name}> c</p>", links=True).strip() == "a b c"


@pytest.mark.parametrize("name", ["h0", "h1", "h6", "h7", "h10", "h007", "h99999"])
def test_headings_of_any_depth(name: str) -> None:
    html = f"<{name}>a</{name}>b"
    assert as_markdown(html, links=True) == markdownify.markdownify(html, heading_style="ATX")


def test_a_heading_beyond_all_numbers_is_a_part_of_the_text() -> None:
    assert as_markdown(f"<h{'9' * 5_000}>a</p>", links=True) == "a"
