"""``/ui``: pages, and the forms on them. Each asks what the routes beside it ask."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import Field
from starlette.responses import RedirectResponse, Response, StreamingResponse

from api import tasks
from api.access import COOKIE, Parts, check_origin, identify
from api.bodies import ChoiceBody
from api.events import held
from api.metrics import breakers
from api.operations import OfTenant, SessionName, exchanges_of
from api.principals import (
    ApprovesRuns,
    CancelsRuns,
    ReadsAgents,
    ReadsLetters,
    ReadsRuns,
    ReadsSessions,
    ReadsStats,
    WritesLetters,
)
from api.problems import ProblemError, not_found
from api.runs import RunId, find
from api.services import Services
from api.ui import lists, sessions
from api.ui import statistics as numbers
from api.ui.door import KEPT_S, Form, PageRoute, place
from api.ui.frame import FINAL, badge, heading, page
from api.ui.lists import notice
from api.ui.markup import address, tag
from api.ui.run import RunSheet
from api.ui.spans import error_card
from api.ui.statistics import TIMES, Looked, TimeName
from app.access.permissions import Permission, Principal
from app.journal.queries.pages import PageOfRun
from celery_agents.contracts.approval import refusal
from celery_agents.contracts.base import PLACES_MAX, Contract, JsonValue, Name, Tenant
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import Order, StatsWanted, StepStats
from celery_agents.errors import ResultTimeoutError
from celery_agents.noted import note

log = logging.getLogger(__name__)
router = APIRouter(prefix="/ui", route_class=PageRoute, include_in_schema=False)
_P = Permission
Done = Annotated[str | None, Query(max_length=20)]
#: When a letter was given up, and its id: those before it are wanted.
AfterLetter = Annotated[str | None, Query(pattern=r"^\d{1,12}(\.\d{1,9})? [\w.:-]{1,200}$")]
#: Rows of a page.
_WISHES, _LETTERS = 25, 50
#: Seconds: how soon a change is seen, how seldom a run is looked at that stands still, and between
#: two comments.
_SOON_S, _SELDOM_S, _PING_S = 0.3, 2.0, 12.0
#: Seconds that a worker has to say how limits stand: without one, a page says so after them.
_ASKED_S = 2.0
_DAY_S = 86_400.0
#: What the address of a page says was done, in words.
_DONE = {
    "cancel": "Asked to cancel; its steps end within moments.",
    "approve": "Answered. The run goes on.",
    "requeue": "Requeued, with all its attempts.",
}


class ListQuery(Contract):
    """The form above the runs, as it is sent: what is not chosen is empty."""

    show: str = ""
    agent: Name | Literal[""] = ""
    order: Order = "time"
    after: Annotated[str, Field(max_length=400)] | None = None


@router.get("")
async def runs(
    services: Parts,
    who: ReadsRuns,
    wanted: Annotated[ListQuery, Query()],
) -> Response:
    """Runs: the newest or the dearest, all or of one kind."""
    show, agent, order, after = wanted.show, wanted.agent, wanted.order, wanted.after
    if show not in {"", *lists.KINDS, *State}:
        raise ProblemError(422, "invalid_payload", "There are no such runs.")
    about = {show: True} if show in lists.KINDS else {"state": show or None}
    query = tasks.RunsQuery.model_validate(
        {**about, "agent": agent or None, "order": order, "after": after}
    )
    found = await tasks.page_of(services, who, query)
    offered = await services.read(services.posted.offered)
    names = [row["name"] for row in offered if who.may_ask(row["name"])]
    live = await services.read(services.desk.live, who.tenant)
    counts = [tag("span", f"{number:,} {name}", class_="count") for name, number in live.items()]
    return page(
        "Runs",
        heading("Runs", tag("p", counts, class_="counts")),
        lists.filters(show, agent, order, names),
        lists.runs(found.runs, tenants=who.tenant is None),
        lists.older({"show": show, "agent": agent, "order": order}, found.more),
        who=who,
        at="/ui",
        every=None if after else "2",
    )


class ViewQuery(Contract):
    """The part of a run's page that is wanted, and what was just done."""

    done: Annotated[str, Field(max_length=20)] | None = None
    state: State | None = None
    after: Annotated[int, Field(ge=-1, le=PLACES_MAX)] = -1


@router.get("/runs/{run_id}")
async def run(
    run_id: RunId,
    services: Parts,
    who: ReadsRuns,
    view: Annotated[ViewQuery, Query()],
) -> Response:
    """A run, whole or, of many steps, a page of its members."""
    wanted = PageOfRun(run_id=run_id, after=view.after, state=view.state)
    found = await services.read(services.desk.page, wanted)
    if found is None:
        return await _queued(services, who, run_id)
    if not who.sees(found["root"]["tenant"]):
        raise not_found(f"run {run_id}")
    allowed = {"cancels": who.may(_P.RUNS_CANCEL), "sessions": who.may(_P.SESSIONS_READ)}
    made = RunSheet(found, **allowed)
    ended = found["root"]["state"] in FINAL and found["finished_at"] is not None
    waits = None
    if not ended:
        wishes = await services.read(services.desk.wishes_of, run_id)
        if wishes:
            waits = lists.wishes(wishes, answers=_answers(who), linked=False)
    flower = services.settings.flower_url
    return page(
        made.title,
        notice(_DONE.get(view.done or "")),
        made.render(waits, view.state),
        lists.in_flower(flower, f"task/{run_id}", "This run in Flower") if flower else None,
        who=who,
        events=None if ended else f"{made.path}/events",
    )


async def _queued(services: Services, who: Principal, run_id: str) -> Response:
    """A run that no worker has begun, or that none took."""
    found = await find(services, who, run_id)
    state, error = found["state"], found.get("error")
    waits = tag("p", "It is accepted. A worker will begin it.", class_="empty")
    return page(
        state,
        heading("Run", badge(state)),
        tag("p", tag("code", run_id), class_="quiet"),
        error_card(error) if error else waits,
        who=who,
        every=None if state in FINAL else "1",
    )


@router.get("/runs/{run_id}/events")
async def changes(
    *,
    run_id: RunId,
    services: Parts,
    who: ReadsRuns,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Tells that something in a run has changed, until its end: the page says what."""
    tenant = await services.read(services.desk.owner, run_id)
    if tenant is None:
        await find(services, who, run_id)  # it may be queued yet
    elif not who.sees(tenant):
        raise not_found(f"run {run_id}")
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    stream = held(request, services, who, _changes(services, run_id, last_event_id), _refused)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _refused(error: ProblemError) -> str:
    """The page asks anew, and is sent to where people sign in."""
    return f"event: end\ndata: {error.detail}\n\n"


async def _changes(services: Services, run_id: str, seen: str | None) -> AsyncGenerator[str, None]:
    yield "retry: 1000\n\n"
    wait_s, silent_s = _SOON_S, 0.0
    while True:
        told = await services.read(services.desk.pulse, run_id)
        mark = hashlib.blake2b(repr(told.figures).encode(), digest_size=8).hexdigest()
        if told.ended:
            yield f"id: {mark}\nevent: end\ndata: \n\n"
            return
        if mark != seen:
            seen, wait_s, silent_s = mark, _SOON_S, 0.0
            yield f"id: {mark}\nevent: change\ndata: \n\n"
        elif silent_s > _PING_S:
            silent_s = 0.0
            yield ": ping\n\n"
        await asyncio.sleep(wait_s)
        silent_s += wait_s
        wait_s = min(wait_s * 1.2, _SELDOM_S)


@router.post("/runs/{run_id}/cancel")
async def cancel(run_id: RunId, services: Parts, who: CancelsRuns) -> Response:
    """Cancel a run."""
    await tasks.cancel(run_id, services, who)
    return _back(run_id, "cancel")


@router.post("/runs/{run_id}/approve")
async def approve(run_id: RunId, services: Parts, who: ApprovesRuns, fields: Form) -> Response:
    """Answer what waits for a person; a reason refuses, as the client has it."""
    body = ChoiceBody(choice=choice_of(fields), key=fields.get("key") or None)
    await tasks.approve(run_id, body, services, who)
    return _back(run_id, "approve")


def choice_of(fields: Mapping[str, str]) -> JsonValue:
    """The answer of a form: who refuses and writes "yes" beside it does not approve.

    Raises:
        ProblemError: it has none (422).
    """
    try:
        choice: JsonValue = json.loads(fields["choice"])
    except (KeyError, ValueError, RecursionError):
        raise ProblemError(422, "invalid_payload", "The form has no answer.") from None
    reason = fields.get("reason", "").strip()
    if choice is False:
        return refusal(reason)
    return reason if reason and choice == "" else choice


def _back(run_id: str, done: str) -> Response:
    return RedirectResponse(address("runs", run_id, done=done), 303)


def _answers(who: Principal) -> lists.Answerer | None:
    """The one that answers, if somebody may."""
    return lists.Answerer(who.id, who.role) if who.may(_P.RUNS_APPROVE) else None


@router.get("/sessions/{name:path}")
async def session(
    name: SessionName,
    services: Parts,
    who: ReadsSessions,
    tenant: OfTenant = None,
    after: Annotated[int, Query(ge=-1, le=PLACES_MAX)] = -1,
) -> Response:
    """A conversation, a page of exchanges at a time."""
    found = await exchanges_of(services, who, name, tenant, after)
    rows = found["exchanges"][: sessions.EXCHANGES]
    is_more = len(rows) < len(found["exchanges"]) or found["more"] is not None
    more = None
    if rows and is_more:
        href = address("sessions", name, after=str(rows[-1]["place"]), tenant=tenant)
        more = tag("p", tag("a", "Next exchanges", href=href, class_="button"), class_="pages")
    return page(
        name,
        heading("Session", tag("code", name)),
        sessions.exchanges(rows),
        more,
        who=who,
    )


@router.get("/waiting")
async def waiting(
    services: Parts, who: ReadsRuns, after: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """All that waits for a person, a page at a time; ``after`` is the key of a wish."""
    found = await services.read(services.desk.wishes, who.tenant, _WISHES + 1, after)
    shown = found[:_WISHES]
    return page(
        "Waiting",
        heading("Waiting for a person"),
        lists.wishes(shown, answers=_answers(who)),
        lists.next_of("waiting", shown[-1]["key"] if len(found) > _WISHES else None),
        who=who,
        at="/ui/waiting",
        every="3",
    )


@router.get("/agents")
async def agents(services: Parts, who: ReadsAgents) -> Response:
    """Agents and their health; for those who see all tenants, that of all that is probed."""
    found = await services.read(services.posted.offered)
    health = await services.read(services.targets.read)
    states = {row["target"]: row for row in health}
    allowed = [row for row in found if who.may_ask(row["name"])]
    stand = await breakers(services, [f"agent:{row['name']}" for row in allowed])
    day = await _day(services, who)
    rows = [
        {
            **row,
            "health": states.get(target),
            "breaker": stand.get(target),
            "stats": day.get(row["name"]),
        }
        for row in allowed
        for target in (f"agent:{row['name']}",)
    ]
    stale_s = services.settings.health_stale_s
    probed = (tag("h2", "Probes"), lists.targets(health, stale_s)) if who.tenant is None else None
    flower = services.settings.flower_url
    pools = lists.in_flower(flower, "workers", "Workers and pools in Flower") if flower else None
    return page(
        "Agents",
        heading("Agents", pools),
        lists.agents(rows),
        probed,
        who=who,
        at="/ui/agents",
        every="5",
    )


async def _day(services: Services, who: Principal) -> dict[str, list[StepStats]]:
    """Agents' statistics of 24 hours, of the steps that somebody may see."""
    found: dict[str, list[StepStats]] = {}
    if who.may(_P.STATS_READ):
        wanted = StatsWanted.of({"since_s": _DAY_S, "by": "agent", "tenant": who.tenant})
        for row in (await services.read(services.statistics.within, wanted)).rows:
            found.setdefault(row.name, []).append(row)
    return found


@router.get("/dead-letters")
async def letters(
    services: Parts, who: ReadsLetters, done: Done = None, after: AfterLetter = None
) -> Response:
    """Steps and messages that were given up, a page at a time."""
    before = None
    if after is not None:
        at, _, key = after.partition(" ")
        before = (float(at), key)
    found = await services.read(services.desk.letters, who.tenant, _LETTERS + 1, before)
    shown = found[:_LETTERS]
    last = f"{shown[-1]['at']!r} {shown[-1]['id']}" if len(found) > _LETTERS else None
    rows = (
        lists.letters(shown, writes=who.may(_P.LETTERS_WRITE)),
        lists.next_of("dead-letters", last),
    )
    return page(
        "Dead letters",
        heading("Dead letters"),
        notice(_DONE.get(done or "")),
        rows,
        who=who,
        at="/ui/dead-letters",
        every="5",
    )


@router.post("/dead-letters/{step_id}/requeue")
async def requeue(step_id: RunId, services: Parts, who: WritesLetters) -> Response:
    """Let a dead step be tried again."""
    await tasks.requeue(step_id, services, who)
    return RedirectResponse(address("dead-letters", done="requeue"), 303)


class StatisticsQuery(Contract):
    """The form above the statistics, as it is sent: what is not chosen is empty."""

    time: TimeName = "24h"
    by: Literal["agent", "tenant"] = "agent"
    agent: Name | Literal[""] = ""
    #: For those who see all tenants.
    tenant: Tenant = ""


@router.get("/statistics")
async def statistics(
    services: Parts, who: ReadsStats, wanted: Annotated[StatisticsQuery, Query()]
) -> Response:
    """Steps in numbers, by agent or tenant and over a time, of those that somebody may see."""
    every = who.tenant is None
    looked = Looked(
        time=wanted.time,
        by=wanted.by if every else "agent",
        agent=wanted.agent,
        tenant=wanted.tenant if every else "",
    )
    within = TIMES[looked.time]
    tenant = (looked.tenant or None) if every else who.tenant
    about = {"since_s": within.since_s, "by": looked.by, "tenant": tenant}
    asked = StatsWanted.of({**about, "agent": looked.agent or None})
    told, slots = await services.read(services.statistics.over_time, asked, within.slot_s)
    offered = await services.read(services.posted.offered)
    names = [row["name"] for row in offered if who.may_ask(row["name"])]
    return page(
        "Statistics",
        heading("Statistics"),
        numbers.form(looked, names, tenants=every),
        numbers.sheet(looked, told, slots),
        who=who,
        at="/ui/statistics",
        every="30",
    )


@router.get("/limits")
async def limits(services: Parts, who: ReadsStats) -> Response:
    """Budgets, and for those who see all tenants limits; workers say how they stand."""
    client = services.client
    if who.tenant is not None:
        words = "How budgets and limits stand is shown to keys of all tenants."
        return page(
            "Limits", heading("Limits"), tag("p", words, class_="empty"), who=who, at="/ui/limits"
        )
    try:
        budgets, states = await asyncio.gather(
            services.ask(who, client.budgets, timeout=_ASKED_S),
            services.ask(who, client.limits.list, timeout=_ASKED_S),
        )
    except ResultTimeoutError as error:
        note(log, "page_limits", "The page does not show how limits stand", error=error)
        words = "No worker says how budgets and limits stand. It is shown as soon as one is up."
        told = tag("p", words, class_="empty")
        return page("Limits", heading("Limits"), told, who=who, at="/ui/limits", every="5")
    return page(
        "Limits",
        heading("Budgets"),
        lists.budgets(budgets),
        tag("h2", "Limits"),
        lists.limits(states),
        who=who,
        at="/ui/limits",
        every="5",
    )


# -- coming and going


@router.get("/sign-in")
async def sign_in_page(request: Request) -> Response:
    """Asks for a key."""
    return page("Sign in", lists.sign_in(place(request.query_params.get("next")), None))


@router.post("/sign-in")
async def sign_in(request: Request, services: Parts, fields: Form) -> Response:
    """Keep a key that holds in the browser, where no script reads it."""
    check_origin(request)
    key, after = fields.get("key", "").strip(), place(fields.get("next"))
    try:
        given = HTTPAuthorizationCredentials(scheme="Bearer", credentials=key)
        await identify(request, services, given)
    except ProblemError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        return page("Sign in", lists.sign_in(after, "This key does not hold."), status=401)
    made = RedirectResponse(after, 303)
    made.set_cookie(
        COOKIE,
        key,
        max_age=KEPT_S,
        path="/ui",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return made


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Have the browser forget its key."""
    check_origin(request)
    made = RedirectResponse("/ui/sign-in", 303)
    made.delete_cookie(COOKIE, path="/ui", httponly=True, samesite="strict")
    return made


def _file(name: str, media_type: str) -> None:
    """Serve one of the files beside this module."""
    content = resources.files(__package__ or "").joinpath(name).read_bytes()

    async def served() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    router.get(f"/{name}")(served)


_file("ui.css", "text/css")
_file("ui.js", "text/javascript")
_file("icon.svg", "image/svg+xml")
