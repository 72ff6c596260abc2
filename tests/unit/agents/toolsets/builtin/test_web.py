"""Tools of the web go nowhere else, read no more than they may, and hand no secret on."""

from __future__ import annotations

import base64
import html
import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.net.outside import PrivateHosts
from agents.tools.calls import ToolError
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.offer import offer_of
from agents.toolsets.builtin.web import pages
from agents.toolsets.builtin.web.home import Web
from agents.toolsets.builtin.web.requesting import Downloads
from agents.toolsets.builtin.web.searching import Search
from agents.toolsets.entries import SearchEngine
from deploy.local.servers import LOOPBACK
from tests.unit.agents.toolsets.builtin.site import Site, site
from tests.unit.agents.toolsets.builtin.support import called, called_at, web

#: Hosts that lead inside, by whatever spelling.
INSIDE = [
    *("127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.1."),
    *("①②⑦.⓪.⓪.①", "127。0。0。1", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "localhost"),
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.100.100.200", "169.254.169.254"),
    *("[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]"),
    *("[2002:7f00:1::]", "192.0.0.8", "192.88.99.1", "224.0.0.1", "[ff02::1]", "[3fff::1]"),
    *("[5f00::1]", "168.63.129.16"),
]
#: URLs that are refused whatever their hosts are.
REFUSED = [
    *("file:///etc/passwd", "gopher://x.org/", "data:text/html,x", "ftp://x.org/", "//x.org/"),
    *("http://a@127.0.0.1/", "https://a:b@x.org/", "http://example.com\\@127.0.0.1/"),
    *("https://x.org:22/", "https://x.org:6379/", "https://x.org:99999/", "https://[::1/"),
    *("https:///x", "https://x.org/\r\nX: y", "http://x.org/"),
]
TOOLS = [n for n, f in functions().items() if offer_of(f).home in {"web", "downloads"}]


async def outside(_host: str, _port: int) -> list[str]:
    """A DNS that knows each name as one address of the internet, which nobody reaches here."""
    return ["93.184.216.34"]


@pytest.fixture
def heard() -> Site:
    """The server, with an empty log."""
    found = site()
    found.heard.clear()
    return found


def call(name: str, url: str, way: Web, folder: Path | None = None) -> Any:
    homes = {"web": way, "downloads": Downloads(way, Root(folder or Path("/nowhere")))}
    given = dict(offer_of(functions()[name]).example) | {"url": url}
    return called_at(homes, name, **given)


@pytest.mark.parametrize("host", INSIDE)
def test_no_spelling_leads_inside(heard: Site, host: str) -> None:
    way = web(private=PrivateHosts())
    for scheme in ("http", "https"):
        for name in ("web.fetch_page", "web.check_url"):
            with pytest.raises(ToolError, match=r"private|reached|known|URL"):
                call(name, f"{scheme}://{host}:{heard.server_port}/page", way)
    assert heard.heard == []


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_goes_by_the_guard(heard: Site, tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolError, match="private network"):
        call(name, f"{heard.url}/page", web(private=PrivateHosts()), tmp_path)
    assert heard.heard == []


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_no_url_of_the_web(url: str) -> None:
    with pytest.raises(ToolError, match=r"URL|Port"):
        call("web.fetch_page", url, web(resolve=outside))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["169.254.169.254", "[::1]", "127.0.0.2", "file:///etc/passwd"])
def test_each_hop_goes_by_the_guard(heard: Site, status: int, host: str) -> None:
    to = host if "/" in host else f"http://{host}:{heard.server_port}/page"
    with pytest.raises(ToolError, match=r"private network|no URL of the web"):
        call("web.fetch_page", f"{heard.url}/to{status}?{to}", web())
    assert len(heard.heard) == 1


def test_a_name_that_comes_to_lead_inside(heard: Site) -> None:
    answers = [[LOOPBACK], ["10.0.0.1", "93.184.216.34"]]

    async def rebinding(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    url = f"http://x.test:{heard.server_port}"
    way = web(private=PrivateHosts.of([LOOPBACK]), resolve=rebinding)
    with pytest.raises(ToolError, match="private network"):
        call("web.fetch_page", f"{url}/to302?{url}/page", way)
    assert len(heard.heard) == 1


def test_no_proxy_is_asked(heard: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, heard.url)
    with pytest.raises(ToolError):
        call("web.check_url", "https://x.test/", web(resolve=outside, limit_s=0.2))
    assert heard.heard == []


def test_hosts_of_the_toolset(heard: Site) -> None:
    way = web(hosts=("*.x.org", LOOPBACK))
    with pytest.raises(ToolError, match=r"none of the hosts .*\*\.x\.org"):
        call("web.fetch_page", "https://y.org/", way)
    with pytest.raises(ToolError, match="none of the hosts"):
        call("web.fetch_page", f"{heard.url}/to302?https://y.org/", web(hosts=(LOOPBACK,)))
    assert call("web.fetch_page", f"{heard.url}/page", way)["title"] == "A page"


#: What would hold a worker, and a word of the error.
BOMBS = {
    "/endless": "more than 5000000 bytes",
    "/endless/headers": "cannot be reached",
    "/endless/slow": "did not answer within",
    "/bomb": "more than 5000000 bytes",
    "/deep": "deep",
    "/loop": "redirects more than",
    "/picture": "image/png",
    "/gone": "status 404: no such page",
}


@pytest.mark.parametrize("path", BOMBS)
def test_answers_that_have_no_end(path: str) -> None:
    begun = time.process_time()
    with pytest.raises(ToolError, match=BOMBS[path]):
        call("web.fetch_page", f"{site().url}{path}", web(limit_s=2 if "slow" in path else 30))
    assert time.process_time() - begun < 5


def test_a_page_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take long, and the loop has others' leases to keep."""
    read, threads = pages._page, []

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread())
        return read(*given)

    monkeypatch.setattr(pages, "_page", noted)
    assert called("web.fetch_page", url="https://example.com/page")
    assert threads != [threading.main_thread()]


def asked(way: Web, url: str, **options: Any) -> Any:
    given = {"method": "POST", "url": url, **options}
    return called_at({"web": way}, "web.http_request", **given)


def test_a_secret_goes_to_its_host_alone(heard: Site) -> None:
    way = web(secrets={"TOKEN": LOOPBACK})
    told = asked(way, f"{heard.url}/echo", secret="TOKEN", headers={"X-Mine": "1"})
    assert heard.heard[0][2]["authorization"] == "Bearer s3cret-value"
    assert "s3cret-value" not in str(told)  # though the server says it
    for said in (
        "302?/page?t=s3cret-value",
        "404?https://x.org/?t=s3cret-value",
        "302?/s3cret-value",
    ):
        assert "s3cret-value" not in str(asked(way, f"{heard.url}/to{said}", secret="TOKEN"))
    to = "https://x.org/?t=s3cret-value"
    with pytest.raises(ToolError, match=r"sent on to https://x.org/\?t=\.\.\."):
        asked(way, f"{heard.url}/to307?{to}", secret="TOKEN", body={"a": 1})
    assert heard.heard[0][2]["idempotency-key"] == "key"
    for secret, url in (("OTHER", heard.url), ("TOKEN", "https://x.org")):
        with pytest.raises(ToolError, match="no secret of that host: TOKEN of 127"):
            asked(way, url, secret=secret)
    # Another port is another server.
    other = Site()
    try:
        asked(way, f"{heard.url}/to302?{other.url}/echo", secret="TOKEN", headers={"X-Mine": "1"})
        assert {"authorization", "x-mine", "idempotency-key"}.isdisjoint(other.heard[0][2])
        asked(way, f"{heard.url}/to302?{heard.url}/echo", secret="TOKEN")
        assert heard.heard[-1][2]["authorization"] == "Bearer s3cret-value"
        with pytest.raises(ToolError, match="was not sent on"):
            asked(way, f"{heard.url}/to307?{other.url}/echo", body={"a": 1})
        assert len(other.heard) == 1
    finally:
        other.shutdown()
        other.server_close()


SECRET = 's3cret/va+lue&"more'
WRITTEN = {
    "of a path": quote(SECRET),
    "in small letters": quote(SECRET, safe="").lower(),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON of PHP": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "JSON of .NET": r"s3cret/va\u002Blue\u0026\u0022more",
    "HTML": html.escape(SECRET),
    **{f"Base64 {n}": base64.b64encode(b"x" * n + SECRET.encode()).decode() for n in range(3)},
    "Base64 of URLs": base64.urlsafe_b64encode(SECRET.encode()).decode(),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_a_secret_is_hidden_however_a_server_writes_it(heard: Site, written: str) -> None:
    way = web(secrets={"TOKEN": LOOPBACK}, resolve_secret=lambda _: SECRET)
    heard.pages["/said"] = (200, {"X-Said": WRITTEN[written]}, WRITTEN[written].encode())
    told = str(asked(way, f"{heard.url}/said", secret="TOKEN"))
    assert "..." in told
    for part in (WRITTEN[written][4:-4], WRITTEN[written][4:12]):
        assert part not in told


def test_no_part_of_a_secret_is_told_where_a_url_is_cut(heard: Site) -> None:
    way = web(secrets={"TOKEN": LOOPBACK})
    to = f"https://x.org/{'a' * 178}s3cret-value"
    with pytest.raises(ToolError) as told:
        asked(way, f"{heard.url}/to307?{to}", secret="TOKEN", body={"a": 1})
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("name", ["Host", "Authorization", "Cookie", "Content-Length"])
def test_headers_that_are_not_the_models(heard: Site, name: str) -> None:
    with pytest.raises(ToolError, match="not for you"):
        asked(web(), f"{heard.url}/echo", headers={name: "x"})
    assert heard.heard == []


def test_pages_of_json() -> None:
    assert called("web.get_json", url="https://example.com/1", pages=5) == [1, 2]
    assert called("web.get_json", url="https://example.com/1") == [1]
    for url, cursor in (("cursor", "at=next"), ("whole", "next")):
        given = {"expression": "items[]", "pages": 5, "cursor": cursor}
        assert called("web.get_json", url=f"https://example.com/{url}", **given) == [1, 2]
    with pytest.raises(ToolError, match="no JSON"):
        called("web.get_json", url="https://example.com/page")


def test_a_page() -> None:
    told = called("web.fetch_page", url="https://example.com/away", links=True)
    assert told["url"] == f"{site().url}/page"
    assert told["text"].startswith("# Head\n\nIt is a long text")
    assert not {"Menu", "alert", "Foot"} & {*told["text"].split()}
    assert [one["url"] for one in told["outer"]] == ["https://x.org/"]
    assert called("web.fetch_page", url="https://example.com/latin")["text"] == "Grüße"


def test_a_url_that_is_checked() -> None:
    told = called("web.check_url", url="https://example.com/away")
    assert (told["status"], told["redirects"]) == (200, [f"{site().url}/away"])
    assert called("web.check_url", url="https://example.com/gone")["status"] == 404
    site().pages["/no_head"] = (200, {}, b"x")
    assert called("web.check_url", url="https://example.com/no_head")["bytes"] == 1


def test_a_download_has_the_digest_that_is_expected(tmp_path: Path) -> None:
    home = {"downloads": Downloads(web(), Root(tmp_path))}
    given = {"url": f"{site().url}/file.txt", "path": "a.txt"}
    found = called_at(home, "web.download_file", **given)
    with pytest.raises(ToolError, match="Nothing was kept"):
        called_at(home, "web.download_file", **given | {"path": "b"}, expected_sha256="0" * 64)
    with pytest.raises(ToolError, match="leads out"):
        called_at(home, "web.download_file", **given | {"path": "../b"})
    called_at(home, "web.download_file", **given, expected_sha256=found["sha256"])
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_robots_and_sitemaps() -> None:
    assert called("web.check_robots", url="https://example.com/open")["allowed"]
    given = {"url": "https://example.com/sitemap.xml.gz", "contains": "/a"}
    assert called("web.read_sitemap", **given)["urls"] == [
        {"url": "https://x.org/a", "lastmod": "2026-05-04"}
    ]
    with pytest.raises(ToolError, match="more than 5,000,000"):
        called("web.read_sitemap", url="https://example.com/bomb.xml.gz")
    with pytest.raises(ToolError, match="no feed"):
        called("web.read_feed", url="https://example.com/page")
    rules = "User-agent: *\nDisallow: /" + "a*" * 40 + "b\nDisallow: /x\n"
    kept, site().pages["/robots.txt"] = site().pages["/robots.txt"], (200, {}, rules.encode())
    assert called("web.check_robots", url="https://example.com/" + "a" * 200)["allowed"]
    site().pages["/robots.txt"] = (503, {}, b"")
    assert not called("web.check_robots", url="https://example.com/")["allowed"]
    del site().pages["/robots.txt"]
    assert called("web.check_robots", url="https://example.com/")["allowed"]
    site().pages["/robots.txt"] = kept


@pytest.mark.parametrize(
    ("engine", "header"),
    [("brave", "x-subscription-token"), ("tavily", "authorization")],
)
def test_engines_that_are_asked(heard: Site, engine: Any, header: str) -> None:
    entry = SearchEngine(engine=engine, url=f"{heard.url}/{engine}", key_env="TOKEN")
    # The configuration names its host: it may be private, and is none of the tools' hosts.
    search = Search.of(entry, web(private=PrivateHosts(), hosts=("x.org",)))
    found = called_at({"search": search}, "web.web_search", query="durable agents")
    assert found == [{"title": "T", "url": "https://x.org/", "text": "C", "date": "2026"}]
    assert "s3cret-value" in heard.heard[0][2][header]
    heard.pages[f"/{engine}"] = heard.pages[f"/{engine}?q=durable+agents&count=8"] = (
        *(401, {}),
        b"s3cret-value is no key",
    )
    with pytest.raises(ToolError, match=r"status 401: \.\.\. is no key"):
        called_at({"search": search}, "web.web_search", query="durable agents")
    lacking = Search.of(entry, web(resolve_secret=lambda _: None))
    with pytest.raises(ToolError, match="TOKEN is not set"):
        called_at({"search": lacking}, "web.web_search", query="durable agents")


#: Of parse_url: arguments, and the URL that it gives.
URLS: list[tuple[dict[str, Any], str]] = [
    ({"url": "https://x.org/a/b", "relative": "../c?d=1"}, "https://x.org/c?d=1"),
    (
        {"url": "https://x.org/?a=1&b=2", "query": {"a": None, "c": "ü"}},
        "https://x.org/?b=2&c=%C3%BC",
    ),
    ({"url": "http://bücher.de:8080"}, "http://xn--bcher-kva.de:8080/"),
    ({"url": "https://u:p@x.org/"}, "https://x.org/"),
    ({"url": "http://[::1]:80/x y"}, "http://[::1]/x%20y"),
    ({"url": "mailto:ann@x.org"}, "mailto:ann@x.org"),
    ({"url": "http://x.org//a/b"}, "http://x.org//a/b"),
    ({"url": "http://x.org/..//a/../b"}, "http://x.org//b"),
]


@pytest.mark.parametrize(("arguments", "url"), URLS)
def test_urls_taken_apart(arguments: dict[str, Any], url: str) -> None:
    assert called("web.parse_url", **arguments)["url"] == url


@given(st.lists(st.sampled_from([".", "..", "a", "b.", "...", "%2e"])), st.booleans())
def test_a_path_is_normalised_as_one_that_is_joined(parts: list[str], folder: bool) -> None:
    path = "".join(f"/{part}" for part in parts) + "/" * folder
    wanted = urljoin("http://x.org/", path)
    assert called("web.parse_url", url=f"http://x.org{path}")["url"] == wanted


#: Of select_html: arguments, and what it gives.
SELECTED: list[tuple[dict[str, Any], Any]] = [
    ({"css": "a", "give": "attribute"}, ["/x"]),
    ({"css": "table", "give": "table"}, [[["a", "b"], ["1", "2"]]]),
    ({"css": "b", "give": "html"}, ["<b>y</b>"]),
]
HTML = "<a href=/x>x <b>y</b></a><table><tr><th>a<th>b<tr><td>1<td>2</table>"


@pytest.mark.parametrize(("arguments", "gives"), SELECTED)
def test_elements_that_are_selected(arguments: dict[str, Any], gives: Any) -> None:
    assert called("web.select_html", html=HTML, **arguments) == gives


REFUSED_HTML: list[tuple[str, str, str]] = [
    ("<div>" * 30_000, "div", "deep"),
    ("<p>" * 30_000, "p", "deep|elements"),
    ("<p>x</p>" * 20_000, "p", "elements"),
    (HTML, "p:has(a:has(b))", "one of :has"),
    (HTML, "p:not(a):not(a):not(a):not(a):not(a)", "filters"),
    (HTML, "p[[", "no selector"),
]


@pytest.mark.parametrize(("html", "css", "word"), REFUSED_HTML)
def test_html_that_is_a_bomb(html: str, css: str, word: str) -> None:
    begun = time.process_time()
    with pytest.raises(ToolError, match=word):
        called("web.select_html", html=html, css=css)
    assert time.process_time() - begun < 5
