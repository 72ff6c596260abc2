"""A server on this machine, for tools of the web."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.local.servers import LOOPBACK

ARTICLE = "It is a long text about durable agents, which goes on and on. " * 9
PAGE = f"""<html><head><title>A page</title>
<meta property="article:published_time" content="2026-05-04"></head>
<body><nav><a href="/menu">Menu</a></nav><script>alert(1)</script>
<main><h1>Head</h1><p>{ARTICLE}</p><a href="/b#x">B</a> <a href="https://x.org/">X</a></main>
<footer>Foot</footer></body></html>"""
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><title>One</title><link>https://x.org/1</link><pubDate>Mon, 04 May 2026 10:00:00 GMT</pubDate>
<description>&lt;b&gt;Bold&lt;/b&gt; news</description></item></channel></rss>"""
SITEMAP = """<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<url><loc>https://x.org/a</loc><lastmod>2026-05-04</lastmod></url>
<url><loc>https://x.org/b</loc></url></urlset>"""
ROBOTS = "User-agent: *\nDisallow: /private/\nCrawl-delay: 2\nSitemap: https://x.org/s.xml\n"

Answer = tuple[int, dict[str, str], bytes]


def pages() -> dict[str, Answer]:
    """The answers by path."""
    html, xml = {"Content-Type": "text/html"}, {"Content-Type": "application/xml"}
    data = {"Content-Type": "application/json"}
    found = {
        "/page": (200, html, PAGE.encode()),
        "/feed": (200, xml, FEED.encode()),
        "/sitemap.xml": (200, xml, SITEMAP.encode()),
        "/sitemap.xml.gz": (200, {}, gzip.compress(SITEMAP.encode())),
        "/bomb.xml.gz": (200, {}, gzip.compress(b" " * 20_000_000)),
        "/robots.txt": (200, {"Content-Type": "text/plain"}, ROBOTS.encode()),
        "/file.txt": (200, {"Content-Type": "text/plain"}, b"a file"),
        "/data": (200, data, b'{"items": [{"id": 1}, {"id": 2}]}'),
        "/1": (200, {**data, "Link": '</2>; rel="next"'}, b"[1]"),
        "/2": (200, data, b"[2]"),
        "/cursor": (200, data, b'{"items": [1], "next": "b"}'),
        "/cursor?at=b": (200, data, b'{"items": [2], "next": null}'),
        "/whole": (200, data, b'{"items": [1], "next": "/cursor?at=b"}'),
        "/away": (302, {"Location": "/page"}, b""),
        "/loop": (302, {"Location": "/loop"}, b""),
        "/latin": (200, {"Content-Type": "text/plain; charset=latin-1"}, b"Gr\xfc\xdfe"),
        "/picture": (200, {"Content-Type": "image/png"}, b"\x89PNG"),
        "/deep": (200, html, b"<div>" * 60_000),
        "/gone": (404, {"Content-Type": "text/plain"}, b"no such page"),
        "/bomb": (200, {**html, "Content-Encoding": "gzip"}, gzip.compress(b" " * 20_000_000)),
    }
    search = [{"title": "T", "url": "https://x.org/", "content": "C", "publishedDate": "2026"}]
    brave = [{"title": "T", "url": "https://x.org/", "description": "C", "page_age": "2026"}]
    found["/search?q=durable+agents&format=json"] = (
        200, data, json.dumps({"results": search}).encode(),
    )  # fmt: skip
    found["/brave?q=durable+agents&count=8"] = (
        200, data, json.dumps({"web": {"results": brave}}).encode(),
    )  # fmt: skip
    found["/tavily"] = (200, data, json.dumps({"results": search}).encode())
    return found


class Site(ThreadingHTTPServer):
    """Answers with the pages, tells at /echo what it was sent, and redirects by /to?URL."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.pages = pages()
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heard.append((self.command, self.path, headers))
        if self.path.startswith("/endless"):
            self._endless()
        elif self.path.startswith("/to"):
            status, _, to = self.path.removeprefix("/to").partition("?")
            self._send(int(status or 302), {"Location": to}, b"")
        elif self.path == "/echo":
            told = {"method": self.command, "headers": headers, "body": body.decode()}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(told).encode())
        elif self.path == "/no_head" and self.command == "HEAD":
            self._send(405, {}, b"")
        else:
            self._send(*self.server.pages.get(self.path, (404, {}, b"not here")))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def _endless(self) -> None:
        self.close_connection = True
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n")
            for piece in self._pieces():
                self.wfile.write(piece)
        except OSError:
            pass  # whoever asked has gone

    def _pieces(self) -> Iterator[bytes]:
        if self.path == "/endless/headers":
            while True:
                yield b"X-More: " + b"x" * 1_000 + b"\r\n"
        yield b"\r\n"
        if self.path == "/endless/slow":
            threading.Event().wait(60)
        while True:
            yield b"x" * 65_536

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@cache
def site() -> Site:
    """That of this process."""
    return Site()
