"""Short tasks of their own queue, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.admission.budgets import sights as accounts
from app.admission.limits import sights
from app.caching import sights as caching
from app.concurrency.fibers import wait
from app.execution.runtime import runtime_of
from app.journal.stores.exchanges import Exchanges
from app.journal.stores.overview import Overview
from app.journal.stores.statistics import Statistics
from app.maintenance.acts import actor_of, recorded
from app.maintenance.cluster import with_queues
from app.maintenance.dead_letters import dead_letters_of
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import (
    PLACES_MAX,
    JsonValue,
    id_of,
    name_of,
    period_of,
    tenant_of,
    whole_of,
)
from celery_agents.contracts.session import session_of
from celery_agents.contracts.watching import RunFilter, StatsWanted
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import problem

#: Letters of one answer: some hundred bytes each.
LISTED_MAX = 10_000


@shared_task(name=names.CANCEL, bind=True, acks_late=True)
def cancel(self: Any, run_id: str, tenant: str = "") -> bool:
    """Cancel a run with all its steps, also one of a tenant that no worker has seen yet.

    Returns whether it was still open.
    """
    runtime = recorded(self, "run.cancel", id_of(run_id))
    after = runtime.journal.cancel(id_of(run_id), tenant_of(tenant))
    runtime.follow(after)
    runtime.intake.forget([self.request.id])
    return after.applied


@shared_task(name=names.APPROVE, bind=True, acks_late=True)
def approve(self: Any, run_id: str, choice: JsonValue, key: str | None = None) -> bool:
    """Answer a run that waits for a person; an answer that is not the first is refused."""
    if (wrong := problem(choice)) is not None:
        raise InvalidPayloadError(f"choice: {wrong}.")
    runtime = recorded(self, "run.approve", id_of(run_id), choice=choice, key=key)
    wish = "" if key is None else id_of(key)
    whose = {"by": actor_of(self.request), "role": str(self.request.get(names.ROLE) or "")}
    after = runtime.journal.approve(id_of(run_id), choice, wish, **whose)
    runtime.follow(after)
    return after.applied


@shared_task(name=names.WAITING, bind=True)
def waiting(self: Any, run_id: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """List what waits for a person, of one run or of all, oldest first."""
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    of = None if run_id is None else id_of(run_id)
    return runtime_of(self.app, self.request.hostname).journal.wishes.list(of, limit=most)


@shared_task(name=names.SESSIONS, bind=True)
def sessions(self: Any, tenant: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """List the sessions of a tenant, the last one changed first."""
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    return _sessions_of(self).list(tenant_of(tenant), most)


@shared_task(name=names.SESSION, bind=True)
def session(self: Any, name: str, after: int = -1, tenant: str = "") -> dict[str, Any]:
    """A page of the exchanges of a session, those after a place; see ``sessions.page``."""
    place = whole_of(after, "after", least=-1, most=PLACES_MAX)
    return _sessions_of(self).page(tenant_of(tenant), session_of(name), place)


@shared_task(name=names.FORK, bind=True, acks_late=True)
def fork(self: Any, name: str, copy: str, upto: int | None = None, tenant: str = "") -> int:
    """Begin a session with the first exchanges of another one; returns how many."""
    most = None if upto is None else whole_of(upto, "upto", least=0, most=PLACES_MAX)
    told = (session_of(name), session_of(copy, "copy"), most)
    runtime = recorded(self, "session.fork", told[0], tenant_of(tenant), copy=copy, upto=upto)
    return runtime.journal.sessions.fork(tenant_of(tenant), *told)


@shared_task(name=names.FORGET, bind=True, acks_late=True)
def forget(self: Any, name: str, tenant: str = "") -> bool:
    """Delete a session with its exchanges; returns whether there was one."""
    runtime = recorded(self, "session.delete", session_of(name), tenant_of(tenant))
    return runtime.journal.sessions.delete(tenant_of(tenant), session_of(name))


@shared_task(name=names.ESTIMATE, bind=True)
def estimate(self: Any, *args: JsonValue, **options: JsonValue) -> dict[str, Any]:
    """Estimate what the first request of an ``agents.ask`` of this payload would take and cost."""
    runtime = runtime_of(self.app, self.request.hostname)
    request = Ask.from_message(args, options)
    found = wait(runtime.loop.submit(runtime.agents.estimate(request)))
    return found.model_dump(mode="json")


def _sessions_of(task: Any) -> Exchanges:
    return runtime_of(task.app, task.request.hostname).journal.sessions


@shared_task(name=names.LIMITS, bind=True)
def limits(self: Any) -> list[dict[str, Any]]:
    """How each limit stands."""
    agents = runtime_of(self.app, self.request.hostname).agents
    return [state.compact() for state in sights.states(agents.limits, agents.registry)]


@shared_task(name=names.PAUSE, bind=True, acks_late=True)
def pause(self: Any, name: str, seconds: float | None = None) -> None:
    """Let nothing pass a limit or a key, for so long or until it is opened."""
    period = period_of(seconds, "seconds")
    agents = recorded(self, "limit.pause", name_of(name), seconds=period).agents
    sights.pause(agents.limits, agents.registry, name_of(name), period)


@shared_task(name=names.RESUME, bind=True, acks_late=True)
def resume(self: Any, name: str) -> None:
    """Open a limit with the keys that it covers, or a key."""
    agents = recorded(self, "limit.resume", name_of(name)).agents
    sights.resume(agents.limits, agents.registry, name_of(name))


@shared_task(name=names.CACHES, bind=True)
def caches(self: Any) -> list[dict[str, Any]]:
    """How the cached answers of each agent stand."""
    runtime = runtime_of(self.app, self.request.hostname)
    agents, memos = runtime.agents, runtime.journal.memos
    found = caching.states(agents.shared_cache, agents.registry, memos)
    return [state.compact() for state in found]


@shared_task(name=names.UNCACHE, bind=True, acks_late=True)
def uncache(self: Any, name: str | None = None) -> int:
    """Forget cached answers: those of an agent or tool, or all."""
    which = None if name is None else name_of(name)
    return caching.forget(recorded(self, "cache.clear", which or "").agents.shared_cache, which)


@shared_task(name=names.TENANTS, bind=True)
def tenants(self: Any) -> list[dict[str, Any]]:
    """List tenants with what they have queued and in flight."""
    runtime = runtime_of(self.app, self.request.hostname)
    registry, queue = runtime.agents.registry, runtime.settings.queue
    return [state.compact() for state in sights.tenants(runtime.intake, registry, queue)]


@shared_task(name=names.BUDGETS, bind=True)
def budgets(self: Any, tenant: str | None = None) -> list[dict[str, Any]]:
    """How each budget stands in its present window."""
    agents = runtime_of(self.app, self.request.hostname).agents
    of = None if tenant is None else tenant_of(tenant)
    return [state.model_dump(mode="json") for state in accounts.states(agents.budgets, of)]


@shared_task(name=names.RELEASE, bind=True, acks_late=True)
def release(self: Any, name: str, subject: str | None = None) -> dict[str, Any]:
    """Count calls of a budget that are in doubt as ones that have cost nothing; their sum."""
    of = None if subject is None else name_of(subject, "subject")
    agents = recorded(self, "budget.release", name_of(name), subject=of).agents
    return accounts.release(agents.budgets, name_of(name), of).model_dump(mode="json")


@shared_task(name=names.STATUS, bind=True)
def status(self: Any, run_id: str) -> dict[str, Any] | None:
    """A run as a tree of steps, from the journal; None when there is no such run."""
    runtime, of = runtime_of(self.app, self.request.hostname), id_of(run_id)
    tree = runtime.journal.run_tree(of)
    return sights.status(runtime.agents.limits, runtime.intake, of, tree)


@shared_task(name=names.RESULTS, bind=True)
def results(self: Any, step_id: str, after: int = -1) -> dict[str, Any]:
    """A page of the outcomes of a step's members, those after a place; see ``tallies.page``."""
    place = whole_of(after, "after", least=-1, most=PLACES_MAX)
    return runtime_of(self.app, self.request.hostname).journal.results(id_of(step_id), place)


@shared_task(name=names.RUNS, bind=True)
def runs(self: Any, **wanted: JsonValue) -> dict[str, Any]:
    """A page of the runs that are looked for; see :class:`RunFilter`."""
    return _overview_of(self).runs(RunFilter.of(wanted)).model_dump(mode="json")


@shared_task(name=names.SHOW, bind=True)
def show(self: Any, run_id: str, answers: bool = False) -> dict[str, Any] | None:
    """A run with all that is told of it, and what agents answered if that is asked for."""
    limits = runtime_of(self.app, self.request.hostname).agents.limits
    found = _overview_of(self).run(id_of(run_id), answers=answers is True)
    return sights.with_places(limits, found)


@shared_task(name=names.PROGRESS, bind=True)
def progress(self: Any, step_id: str) -> dict[str, Any] | None:
    """How far a step is with its members; None where it has none."""
    found = _overview_of(self).progress(id_of(step_id))
    return None if found is None else found.model_dump(mode="json")


@shared_task(name=names.STATS, bind=True)
def stats(self: Any, since_s: float, **wanted: JsonValue) -> dict[str, Any]:
    """Statistics of the steps that ended in the last seconds; see :class:`StatsWanted`."""
    journal = runtime_of(self.app, self.request.hostname).journal
    asked = StatsWanted.of({"since_s": since_s, **wanted})
    return Statistics(journal.engine).within(asked).model_dump(mode="json")


@shared_task(name=names.CLUSTER, bind=True)
def cluster(self: Any) -> dict[str, Any]:
    """The service as a whole, now."""
    runtime = runtime_of(self.app, self.request.hostname)
    found = _overview_of(self).cluster()
    return with_queues(found, runtime.intake, runtime.settings.queue).model_dump(mode="json")


def _overview_of(task: Any) -> Overview:
    return Overview(runtime_of(task.app, task.request.hostname).journal.engine)


@shared_task(name=names.DEAD_LETTERS, bind=True)
def dead_letters(self: Any, limit: int = 100) -> list[dict[str, Any]]:
    """The newest dead letters."""
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    return dead_letters_of(runtime_of(self.app, self.request.hostname)).list(most)


@shared_task(name=names.DEAD_LETTER, bind=True)
def dead_letter(self: Any, letter_id: str) -> dict[str, Any] | None:
    """A dead letter with its payload, redacted; None when there is no such letter."""
    return dead_letters_of(runtime_of(self.app, self.request.hostname)).get(id_of(letter_id))


@shared_task(name=names.REQUEUE, bind=True)
def requeue(self: Any, letter_id: str) -> None:
    """Let a dead letter run again; what a client saw of its end is forgotten."""
    runtime = recorded(self, "letter.requeue", id_of(letter_id))
    runtime.follow(dead_letters_of(runtime).requeue(letter_id))


@shared_task(name=names.DROP, bind=True)
def drop(self: Any, letter_id: str) -> bool:
    """Forget a dead letter; returns whether there was one."""
    runtime = recorded(self, "letter.drop", id_of(letter_id))
    return dead_letters_of(runtime).drop(letter_id)
