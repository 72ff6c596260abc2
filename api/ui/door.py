"""Visitors with a browser: a key in a cookie, forms of our own pages alone, errors as pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from redis.exceptions import RedisError
from starlette.responses import RedirectResponse, Response

from api.problems import ProblemError, of_agents, response
from api.ui.frame import problem_page
from celery_agents.errors import AgentsError, BrokerUnavailableError
from celery_agents.noted import note

log = logging.getLogger(__name__)


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
