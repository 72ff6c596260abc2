"""Visitors with a browser: a key in a cookie, forms of our own pages alone, errors as pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials
from redis.exceptions import RedisError
from starlette.responses import RedirectResponse, Response

from api.access import Given, May, Parts, forbidden
from api.problems import ProblemError, of_agents, response
from api.ui.frame import problem_page
from app.access.permissions import Principal
from celery_agents.errors import AgentsError, BrokerUnavailableError
from celery_agents.noted import note

log = logging.getLogger(__name__)


COOKIE = "agents_key"
SIGN_IN = "/ui/sign-in"
#: Seconds that a browser keeps a key: a day of work.
KEPT_S = 12 * 3600
#: Fields of one form.
_FIELDS_MAX = 20
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: ``same-origin``: with ``no-referrer`` browsers send no origin with our own forms.
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


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


async def presented(
    request: Request, services: Parts, given: Given
) -> HTTPAuthorizationCredentials | None:
    """The key that a request brings, in its header or its cookie.

    Raises:
        ProblemError: the request may be another site's (403).
    """
    if given is not None:
        return given  # no browser sends this by itself
    free = services.settings.api_auth == "none"
    key = request.cookies.get(COOKIE)
    if not free and not key:
        return None
    if request.method != "GET":
        check_origin(request)
    return HTTPAuthorizationCredentials(scheme="Bearer", credentials=key or "")


class Visit(May):
    """The dependency of a page that needs a permission; it gives who asks."""

    async def __call__(
        self,
        request: Request,
        services: Parts,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(presented)],
    ) -> Principal:
        """Return the principal that asks; see :class:`May`."""
        return await super().__call__(request, services, given)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, as browsers send them without files.

    Raises:
        ProblemError: it is no form (422).
    """
    body = await request.body()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise ProblemError(422, "invalid_payload", "The form cannot be read.") from None
    return dict(fields)


Form = Annotated[dict[str, str], Depends(form)]


def place(given: str | None) -> str:
    """The page to go on with after somebody signed in: one of ours."""
    return given if given and given.startswith("/ui") and "\\" not in given else "/ui"


class PageRoute(APIRoute):
    """A route whose errors are pages for browsers, and problems for programs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As of FastAPI, with our headers."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                made = await handle(request)
            except ProblemError as error:
                made = _refused(request, error)
            except RequestValidationError:
                text = "The address names nothing that can be asked for."
                made = _refused(request, ProblemError(422, "invalid_payload", text))
            except AgentsError as error:
                made = _refused(request, of_agents(error))
            except RedisError as error:
                note(log, "api_redis", "A page was refused: Redis does not answer", error=error)
                made = _refused(request, of_agents(BrokerUnavailableError()))
            made.headers.update(HEADERS)
            made.headers.setdefault("Cache-Control", "no-store")
            return made

        return handled


def _refused(request: Request, error: ProblemError) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return response(error)
    if error.status == HTTPStatus.UNAUTHORIZED:
        path = request.url.path if request.method == "GET" else "/ui"
        return RedirectResponse(f"{SIGN_IN}?next={quote(path)}", 303)
    return problem_page(error)
