"""The door: each route says which permission it needs, and gets who asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.routing import BaseRoute, Route

from api.problems import ProblemError
from api.services import Services
from app.access.keys import FORM, PREFIX
from app.access.permissions import ANYBODY, Permission, Principal
from celery_agents.errors import ConfigurationError

#: Routes that everybody may have.
OPEN = {
    *("/health", "/openapi.json", "/docs"),
    *("/ui/sign-in", "/ui/sign-out", "/ui/ui.css", "/ui/ui.js", "/ui/icon.svg"),
}
_BEARER = HTTPBearer(auto_error=False, description="A key (ca_…) or a token (JWT).")
#: Pages have the key in a cookie; no other path takes it from there.
COOKIE, PAGES = "agents_key", "/ui"


async def services_of(request: Request) -> Services:
    """The parts of the process that serves a request; not async, it would get a thread."""
    found: Services = request.app.state.services
    return found


Parts = Annotated[Services, Depends(services_of)]


def check_local(request: Request) -> None:
    """Refuse what a page of another site may have sent to this machine, where nobody needs a key.

    Such a page comes under a name that its own DNS gave this machine, or the browser says from
    where it asks.

    Raises:
        ProblemError: it may have (403).
    """
    host = request.url.hostname or ""
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        raise forbidden("Without keys it is served under 127.0.0.1 and localhost alone.")
    site = request.headers.get("sec-fetch-site", "none")
    if request.method != "GET" and site not in {"none", "same-origin"}:
        raise forbidden("Without keys no page of another site may ask.")


def check_origin(request: Request) -> None:
    """Refuse a form that another site's page sent.

    Browsers say where a request comes from (``Sec-Fetch-Site``); older ones name the origin.

    Raises:
        ProblemError: it is another one, or it is not said (403).
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        own = site == "same-origin"
    else:
        own = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not own:
        raise forbidden("This form was not sent by a page of this service.")


async def identify(
    request: Request, services: Services, given: HTTPAuthorizationCredentials | None
) -> Principal:
    """Return the principal that asks.

    Raises:
        ProblemError: nobody that is known (401); another site may be asking (403).
    """
    if services.settings.api_auth == "none":
        check_local(request)
        return ANYBODY
    who = None
    if given is not None:
        said = given.credentials
        if (key := FORM.fullmatch(said)) is not None:
            request.state.claims = f"{key[1]}, not proven"  # for the audit; it may not hold
        check = services.ring.check if said.startswith(PREFIX) else services.tokens.check
        who = await check(said)
    if who is None:
        text = "Give a key or a token that holds: Authorization: Bearer …"
        raise ProblemError(401, "unauthorized", text, {"WWW-Authenticate": "Bearer"})
    return who


async def presented(request: Request, services: Services) -> HTTPAuthorizationCredentials | None:
    """The key that a request brings, in its header or, for a page, in its cookie.

    Raises:
        ProblemError: the request may be another site's (403).
    """
    given = await _BEARER(request)
    if given is not None or not request.url.path.startswith(PAGES):
        return given  # no browser sends this by itself
    key = request.cookies.get(COOKIE)
    if services.settings.api_auth != "none" and not key:
        return None
    if request.method != "GET":
        check_origin(request)
    return HTTPAuthorizationCredentials(scheme="Bearer", credentials=key or "")


class May(SecurityBase):
    """The dependency of a route that needs a permission; it gives who asks.

    It depends on nothing itself: what FastAPI resolves for each request costs more than the check.
    """

    model = _BEARER.model
    scheme_name = _BEARER.scheme_name

    def __init__(self, permission: Permission, *, asks: bool = False) -> None:
        self.permission = permission
        #: Each of its requests asks for a run, which is counted with the request itself.
        self._asks = asks

    async def __call__(self, request: Request) -> Principal:
        """The principal that asks.

        Raises:
            ProblemError: nobody that is known (401), it may not (403), too often (429).
        """
        services = await services_of(request)
        given = await presented(request, services)
        who = request.state.who = await identify(request, services, given)
        if not who.may(self.permission):
            raise forbidden(f"It needs the permission {self.permission}.")
        if self._asks:
            request.state.run_counted = services.rates.count(who, "runs", who.runs_per_s)
        await services.rates.take(who, "requests", who.requests_per_s)
        return who


def forbidden(why: str) -> ProblemError:
    """Return the error of somebody who is known, and may not."""
    return ProblemError(403, "forbidden", why)


def permissions(app: FastAPI) -> Iterator[tuple[BaseRoute, Permission | None]]:
    """Each route of an app with the permission that it needs; None: it is for everybody."""
    for route in _routes(app.routes):
        if not isinstance(route, APIRoute):
            yield route, None
            continue
        needed = [call.permission for call in _called(route.dependant) if isinstance(call, May)]
        yield route, needed[0] if needed else None


def _called(dependant: Dependant) -> Iterator[Any]:
    """Give all that a route depends on, and that those depend on."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _called(dependency)


def _routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _routes(inner.routes)


def methods_of(app: FastAPI, path: str) -> set[str]:
    """The methods of all routes of a path."""
    found: set[str] = set()
    for route in _routes(app.routes):
        if isinstance(route, Route) and route.path_regex.match(path):
            found |= route.methods or set()
    return found


def check_routes(app: FastAPI) -> None:
    """Refuse an app of which a route needs no permission and is not named as open.

    Raises:
        ConfigurationError
    """
    found = [(getattr(route, "path", None), needed) for route, needed in permissions(app)]
    bare = [str(path) for path, needed in found if needed is None and path not in OPEN]
    if bare:
        raise ConfigurationError(f"Routes without a permission: {', '.join(bare)}.")
