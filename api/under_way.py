"""Counting requests, by the templates of their routes: paths and words of clients are no labels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.denials import STATUSES
from app.telemetry.bound import asking
from app.telemetry.exposition import gauge
from celery_agents.traces import TraceParent

#: Methods that have their names; anybody may send any word.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What no route serves, and other methods.
_NONE, _OTHER = "none", "other"


class OpenResponses:
    """Requests that are being answered: streams are, for as long as somebody follows."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        #: True once the process ends: streams whose readers can go on elsewhere do so.
        self.leaving = False

    def families(self) -> Iterator[Any]:
        """One gauge for each route."""
        family = gauge("agents_http_requests_open", "Responses that have begun", "route")
        for route, count in sorted(self.counts.items()):
            family.add_metric([route], count)
        yield family


class CountedRequests:
    """Middleware: counts requests, those that are being answered, and those that are denied."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        services = scope["app"].state.services
        mark = asking.set(_caller(scope))
        began, route = time.perf_counter(), ""

        async def counted(message: Message) -> None:
            nonlocal route
            if message["type"] == "http.response.start" and not route:
                route = getattr(scope.get("route"), "path", _NONE)
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                took_s = time.perf_counter() - began
                services.metrics.responded(route, method, message["status"], took_s)
                services.under_way.counts[route] += 1
                if message["status"] in STATUSES:
                    services.denials.add(scope, route, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            asking.reset(mark)
            if route:
                services.under_way.counts[route] -= 1


def _caller(scope: Scope) -> TraceParent | None:
    """The span of who asks: lines of the log that are written for a request name it."""
    told = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
    return None if told is None else TraceParent.read(told.decode("latin-1"))
