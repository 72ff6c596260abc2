"""``celery -A APP agents …``: the client's commands, and those that the service adds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import IO, Any
from zoneinfo import ZoneInfo

import click
from kombu.utils.imports import symbol_by_name

from celery_agents.client import flags
from celery_agents.client.actors.commands import actors_group
from celery_agents.client.bus.commands import events_group
from celery_agents.client.bus.topic_commands import topics_group
from celery_agents.client.client import Client
from celery_agents.client.evaluating.commands import evaluate_command
from celery_agents.client.flows.commands import schedules_group
from celery_agents.client.memory.commands import memory_group
from celery_agents.client.overview.figures import figure_commands
from celery_agents.client.overview.maps import map_group
from celery_agents.client.overview.runs import runs_group
from celery_agents.client.overview.tables import ago, fitted
from celery_agents.client.run import Run
from celery_agents.client.runs import Runs
from celery_agents.client.shell import Command, Commands, NotFoundError, Shown, plain
from celery_agents.client.swarms.commands import swarms_group
from celery_agents.client.teams.commands import STRATEGY, report, strategy_of, team_commands
from celery_agents.contracts.approval import Wish
from celery_agents.contracts.budgets import UNITS, BudgetState
from celery_agents.contracts.caching import CacheState
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.events import RunEvent
from celery_agents.contracts.limits import LimitState
from celery_agents.contracts.teams.solve import Solution
from celery_agents.contracts.teams.team import TeamReport
from celery_agents.contracts.tenants import TenantState
from celery_agents.contracts.vote import Decision
from celery_agents.errors import ResultTimeoutError
from celery_agents.said import said
from celery_agents.visible import visible

#: Help of an option of ``cancel``.
AHEAD = "Also when nobody knows of the run: its message may still come."


def unknown_run(run_id: str) -> NotFoundError:
    """Return the error of ``cancel`` for a run that nobody knows of."""
    return NotFoundError(
        f"There is no run {run_id}, in the journal or in Redis. "
        "To cancel it ahead of its message: --ahead."
    )


#: The commands as ``--help`` lists them; those of apps that it does not know stand at its end.
HEADINGS = {
    "Ask": "ask vote solve team evaluate estimate",
    "Runs": "runs status watch waiting approve cancel fork map cassette",
    "What is wrong": "health stats cluster metrics dead",
    "Conversations, events, schedules": "sessions memory events topics actors swarms schedules",
    "Bounds": "limits budgets tenants cache",
    "What answers were worth": "verdict voters feedback learned",
    "Agents, tools, flows": "list tools plugins mcp flows",
    "Who may what": "keys token webhook-secret encryption audit",
    "The service itself": "db clean load replicate",
}


class AgentsGroup(Commands):
    """Own commands, and those of the app that ``-A`` names (its ``agents_cli``)."""

    def _service(self, ctx: click.Context) -> dict[str, click.Command]:
        app = getattr(getattr(ctx, "obj", None), "app", None)
        path = getattr(app, "agents_cli", None)
        return {} if path is None else dict(symbol_by_name(path).commands)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List own commands and the app's."""
        return sorted({*self.commands, *self._service(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of the app, else one of its own."""
        # The service's come first: they read the journal itself and need no worker.
        return self._service(ctx).get(cmd_name) or super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands that there are under their headings."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = formatter.width - 6 - max(map(len, found))
        shown = {n: c.get_short_help_str(width) for n, c in found.items() if c and not c.hidden}
        headings = {heading: names.split() for heading, names in HEADINGS.items()}
        known = {*chain.from_iterable(headings.values())}
        headings["Others"] = [name for name in shown if name not in known]
        for heading, names in headings.items():
            if rows := [(name, shown[name]) for name in names if name in shown]:
                with formatter.section(heading):
                    formatter.write_dl(rows, col_max=30)


@click.group(cls=AgentsGroup)
def agents() -> None:
    """Ask agents, follow runs, keep the service."""


def client_of(ctx: click.Context) -> Client:
    """A client on the broker of the app or the option ``-b`` that the command line has.

    Where it has neither, that of ``REDIS_URL``.
    """
    app = ctx.obj.app
    if (settings := getattr(app, "agents_settings", None)) is not None:  # the service's own
        return Client(settings.redis_url.get_secret_value(), queue=settings.queue)
    named = ctx.find_root().params.get("app") is not None
    return Client(said("broker") or (app.conf.broker_url if named else None))


@contextmanager
def _runs_of(ctx: click.Context) -> Iterator[Runs]:
    with client_of(ctx) as client:
        yield client.runs


agents.add_command(runs_group(_runs_of))
agents.add_command(map_group(client_of))
agents.add_command(schedules_group(client_of))
agents.add_command(events_group(client_of))
agents.add_command(topics_group(client_of))
agents.add_command(actors_group(client_of))
agents.add_command(swarms_group(client_of))
agents.add_command(memory_group(client_of))
agents.add_command(evaluate_command(client_of))
for figure_command in figure_commands(client_of):
    agents.add_command(figure_command)
for team_command in team_commands(client_of):
    agents.add_command(team_command)


def _followed(run: Run[Any], timeout: float) -> Iterator[Shown]:
    """Show what a run tells, and its answer where that is not what it said."""
    said = False
    for event in run.events(timeout=timeout):
        if event.outcome is None:
            yield _event(event)
        if event.step_id == run.id and event.type in {"text", "restart"}:
            said = event.type == "text"
    ended = _ended(run, timeout)  # raises what it failed with
    yield ended._replace(text="" if said else f"\n{ended.text}")


def _event(event: RunEvent) -> Shown:
    """An event: of a text its words, of any other a line."""
    if event.type == "text":
        return Shown(event.compact(), event.text, ends=False)
    told = event.data if event.outcome is None else event.outcome.compact()
    shown = json.dumps(told, ensure_ascii=False)
    line = visible(f"[{event.type}] {event.agent or event.step_id} {shown}")
    return Shown(event.compact(), f"\n{line}")


def _ended(run: Run[Any], timeout: float) -> Shown:
    """The answer of a run for people, and for programs how it ended."""
    value = run.get(timeout=timeout)
    said = value.compact() if isinstance(value, Decision | Solution | TeamReport) else value
    outcome = run.outcome()
    told = {} if outcome is None else outcome.compact()
    text = report(value) if isinstance(value, TeamReport) else plain(said)
    return Shown({"id": run.id, **told, "value": said}, text)


@agents.command(cls=Command)
@click.argument("agent")
@click.argument("input_", metavar="INPUT")
@flags.of_session
@flags.of_run
@click.pass_context
def ask(
    ctx: click.Context, /, agent: str, input_: str, timeout: float, **options: Any
) -> Iterator[Shown] | Shown:
    """Ask AGENT about INPUT and print its answer."""
    client = ctx.with_resource(client_of(ctx))
    run = client.ask(agent, input_, **flags.given(options))
    return _followed(run, timeout) if options["stream"] else _ended(run, timeout)


@agents.command(cls=Command)
@click.argument("question")
@click.option("--voter", "-v", "voters", multiple=True, required=True, help="An agent; repeat it.")
@click.option("--rule", default="majority", show_default=True)
@flags.of_run
@click.pass_context
def vote(
    ctx: click.Context,
    /,
    question: str,
    voters: tuple[str, ...],
    rule: str,
    timeout: float,
    **options: Any,
) -> Iterator[Shown] | Shown:
    """Put QUESTION to several agents and print the decision."""
    client = ctx.with_resource(client_of(ctx))
    run = client.vote(voters, question, rule={"kind": rule}, **flags.given(options))
    return _followed(run, timeout) if options["stream"] else _ended(run, timeout)


@agents.command(cls=Command)
@click.argument("task")
@click.option("--strategy", "-s", "strategies", multiple=True, required=True, help=STRATEGY)
@click.option("--work", help="The sort of work, for which it is learned apart who serves.")
@click.option("--select", metavar="AGENT", help="Who chooses the strategy.")
@flags.of_run
@click.pass_context
def solve(
    ctx: click.Context, /, task: str, strategies: tuple[str, ...], timeout: float, **options: Any
) -> Iterator[Shown] | Shown:
    """Have TASK done by whichever strategy serves best, by what was learned."""
    client = ctx.with_resource(client_of(ctx))
    run = client.solve(task, [*map(strategy_of, strategies)], **flags.given(options))
    return _followed(run, timeout) if options["stream"] else _ended(run, timeout)


@agents.command(cls=Command)
@click.argument("lead")
@click.argument("task")
@flags.of_run
@click.pass_context
def team(
    ctx: click.Context, /, lead: str, task: str, timeout: float, **options: Any
) -> Iterator[Shown] | Shown:
    """Have LEAD do TASK with those whom it asks; tell who did what for how much."""
    client = ctx.with_resource(client_of(ctx))
    run = client.team(lead, task, **flags.given(options))
    return _followed(run, timeout) if options["stream"] else _ended(run, timeout)


@agents.command(cls=Command)
@click.argument("run_id")
@click.pass_context
def status(ctx: click.Context, run_id: str) -> Shown:
    """Show a run as a tree of steps, read by a worker."""
    with client_of(ctx) as client:
        found = client.runs.status(run_id)
    if found is None:
        raise NotFoundError(f"There is no run {run_id} in the journal.")
    return Shown(found)


@agents.command(cls=Command)
@click.argument("run_id")
@click.option("--after", metavar="ID", help="Go on after this event.")
@click.pass_context
def watch(ctx: click.Context, run_id: str, after: str | None) -> Iterator[Shown]:
    """Follow RUN_ID, which was asked for with stream=True, to its end."""
    with client_of(ctx) as client:
        yield from map(_event, client.runs.handle(run_id).events(after=after))


@agents.command(cls=Command)
@click.argument("run_id", required=False)
@click.option("--limit", default=100, show_default=True, help="Wishes to show at the most.")
@click.pass_context
def waiting(ctx: click.Context, run_id: str | None, limit: int) -> Shown:
    """List what waits for a person, in RUN_ID or anywhere, oldest first."""
    with client_of(ctx) as client:
        found = client.runs.waiting(run_id, limit=limit)
    lines = fitted(chain.from_iterable(map(_wish_lines, found)))
    return Shown([wish.compact() for wish in found], lines or "Nobody is waited for.")


def _wish_lines(wish: Wish) -> Iterator[str]:
    """Tell of a wish: what `approve` takes first, then what is asked, a line each."""
    yield f"{wish.run_id}  {ago(time.time() - wish.since)}"
    told = {
        "key": wish.key,
        "tool": wish.tool,
        "arguments": wish.arguments,
        "why": wish.why,
        "question": wish.question,
        "choices": None if wish.choices is None else " | ".join(wish.choices),
    }
    for name, value in told.items():
        if value is not None:
            yield f"  {name}: {value if isinstance(value, str) else json.dumps(value)}"


@agents.command(cls=Command)
@click.argument("run_id")
@click.argument("choice")
@click.option("--key", help="Of the wish, as `waiting` shows it; else the oldest vote of the run.")
@click.pass_context
def approve(ctx: click.Context, run_id: str, choice: str, key: str | None) -> Shown:
    """Answer RUN_ID, which waits for a person, with CHOICE.

    An option of a vote; or `true`, `false`, a reason why not, or {"arguments": {…}} for a tool.
    """
    with client_of(ctx) as client:
        said = _said(choice)
        client.runs.approve(run_id, said, key=key)
        return Shown({"id": run_id, "choice": said}, visible(f"{run_id} was answered {choice!r}."))


@agents.command(cls=Command)
@click.argument("run_id")
@click.option("--ahead", is_flag=True, help=AHEAD)
@click.pass_context
def cancel(ctx: click.Context, run_id: str, *, ahead: bool) -> Shown:
    """Cancel a run with all its steps; exit 1 when there is none."""
    with client_of(ctx) as client:
        if not ahead and not _known(client, run_id):
            raise unknown_run(run_id)
        client.runs.cancel(run_id)
        return Shown({"id": run_id}, visible(f"Asked for {run_id} to be cancelled."))


@agents.command(cls=Command)
@click.argument("run_id")
@click.option("--after", metavar="KEY", help="A command; else its first failure.")
@click.pass_context
def fork(ctx: click.Context, run_id: str, after: str | None) -> Shown:
    """Run a flow or a canvas again from a point on, without what was done before it."""
    with client_of(ctx) as client:
        run = client.fork(run_id, after)
    return Shown({"id": run.id, "of": run_id}, visible(f"{run.id} goes on from {run_id}."))


@agents.command(cls=Command)
@click.argument("agent")
@click.argument("text")
@click.pass_context
def estimate(ctx: click.Context, agent: str, text: str) -> Shown:
    """Estimate the tokens and the price of asking AGENT about TEXT; nothing is asked."""
    with client_of(ctx) as client:
        found = client.estimate(agent, text)
    dollars = found.price_unknown if found.usd is None else f"{found.usd:.9f} dollars"
    window = "" if found.context_tokens is None else f" of {found.context_tokens:,}"
    fits = "" if found.fits else "; that is too large, and would be refused"
    told = (
        f"{found.agent} ({found.model}), learned from {found.learned_from:,} requests\n"
        f"input   {found.input_tokens:,} tokens{window}, "
        f"likely {found.likely_input_tokens:,}{fits}\n"
        f"output  {found.output_tokens:,} tokens\n"
        f"price   {dollars}"
    )
    return Shown(found.model_dump(mode="json"), told)


@agents.group()
def sessions() -> None:
    """Conversations that runs have added to."""


_tenant = click.option("--tenant", default="", help="Whose session it is; else nobody's.")


@sessions.command("list", cls=Command)
@_tenant
@click.option("--limit", default=100, show_default=True, help="Sessions to show at the most.")
@click.pass_context
def list_sessions(ctx: click.Context, tenant: str, limit: int) -> Shown:
    """List sessions, the last one changed first."""
    with client_of(ctx) as client:
        found = client.sessions.list(tenant=tenant, limit=limit)
    lines = []
    for session in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.changed_at))
        busy = f"  {session.holder} is under way" if session.holder else ""
        lines.append(visible(f"{session.name}  {at}  {session.exchanges:,} exchanges{busy}"))
    told = [session.model_dump(mode="json") for session in found]
    return Shown(told, "\n".join(lines) or "There are no sessions.")


@sessions.command("read", cls=Command)
@click.argument("name")
@_tenant
@click.option("--after", default=-1, help="Only exchanges behind this place.")
@click.pass_context
def read_session(ctx: click.Context, name: str, tenant: str, after: int) -> Shown:
    """Show the exchanges of session NAME, from its begin on."""
    with client_of(ctx) as client:
        found = [*client.sessions.read(name, tenant=tenant, after=after)]
    lines = [
        f"{exchange.place} {message.role}: {_words(message)}"
        for exchange in found
        for message in exchange.messages
    ]
    told = [exchange.model_dump(mode="json", exclude_defaults=True) for exchange in found]
    return Shown(told, "\n".join(lines) or "Nothing more was said.")


def _words(message: ChatMessage) -> str:
    """Return what a message says, with what it calls and has attached in brackets."""
    calls = [f"[{call.name} {json.dumps(call.arguments)}]" for call in message.tool_calls]
    attached = [f"[{part.kind}, {part.media_type}]" for part in message.attachments]
    return " ".join(filter(None, [message.text, *calls, *attached]))


@sessions.command("fork", cls=Command)
@click.argument("name")
@click.argument("copy")
@_tenant
@click.option("--upto", type=int, help="Only so many of its first exchanges.")
@click.pass_context
def fork_session(ctx: click.Context, name: str, copy: str, tenant: str, upto: int | None) -> Shown:
    """Begin session COPY with the exchanges of session NAME."""
    with client_of(ctx) as client:
        number = client.sessions.fork(name, copy, upto=upto, tenant=tenant)
        text = f"{copy} begins with {number:,} exchanges of {name}."
        return Shown({"name": copy, "exchanges": number}, visible(text))


@sessions.command("delete", cls=Command)
@click.argument("name")
@_tenant
@click.pass_context
def delete_session(ctx: click.Context, name: str, tenant: str) -> Shown:
    """Delete session NAME with all its exchanges; exit 1 when there is none."""
    with client_of(ctx) as client:
        if not client.sessions.delete(name, tenant=tenant):
            raise NotFoundError(visible(f"There is no session {name}."))
        return Shown({"name": name}, visible(f"{name} is deleted."))


@agents.group()
def limits() -> None:
    """Limits of agents and their providers."""


@limits.command("list", cls=Command)
@click.pass_context
def list_limits(ctx: click.Context) -> Shown:
    """Show how limits stand: what is used, who waits, what is closed."""
    with client_of(ctx) as client:
        found = client.limits.list()
    text = fitted(map(_limit_line, found)) or "There are no limits."
    return Shown([state.compact() for state in found], text)


@limits.command("pause", cls=Command)
@click.argument("name")
@click.option("--for", "seconds", type=float, help="Seconds; else until it is resumed.")
@click.pass_context
def pause_limit(ctx: click.Context, name: str, seconds: float | None) -> Shown:
    """Let nothing pass limit NAME, or a provider's key, as `limits list` shows them."""
    with client_of(ctx) as client:
        client.limits.pause(name, seconds)
    return Shown({"name": name, "seconds": seconds}, visible(f"{name} is paused."))


@limits.command("resume", cls=Command)
@click.argument("name")
@click.pass_context
def resume_limit(ctx: click.Context, name: str) -> Shown:
    """Open limit NAME with the keys that it covers, or a key."""
    with client_of(ctx) as client:
        client.limits.resume(name)
    return Shown({"name": name}, visible(f"{name} is open."))


@agents.group()
def cache() -> None:
    """Cached answers of agents."""


@cache.command("list", cls=Command)
@click.pass_context
def list_caches(ctx: click.Context) -> Shown:
    """Show how cached answers stand: how many, their hit rates, the dollars that they saved."""
    with client_of(ctx) as client:
        found = client.cache.list()
    text = fitted(map(_cache_line, found)) or "Nobody's answers are cached."
    return Shown([state.compact() for state in found], text)


@cache.command("clear", cls=Command)
@click.argument("name", required=False)
@click.pass_context
def clear_cache(ctx: click.Context, name: str | None) -> Shown:
    """Forget the answers of agent NAME, of a tool as tool:NAME, or all."""
    with client_of(ctx) as client:
        gone = client.cache.clear(name)
    return Shown({"name": name, "forgotten": gone}, f"{gone:,} answers are forgotten.")


@cache.command("warm", cls=Command)
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--max-cost", type=float, help="US dollars; above it nobody more is asked.")
@click.option("--timeout", default=3600.0, help="Seconds to wait for 50 answers.")
@click.pass_context
def warm_cache(ctx: click.Context, file: IO[str], max_cost: float | None, timeout: float) -> Shown:
    """Ask what FILE lists, behind all other work, so that its answers are cached.

    A line each: {"agent": …, "input": …} with options of ask. Exit 1 where one failed.
    """
    with client_of(ctx) as client:
        told = client.cache.warm(_questions(file), max_cost=max_cost, timeout=timeout)
    cost = "unknown cost" if told.cost_usd is None else f"{told.cost_usd:.6f} dollars"
    text = f"{told.asked:,} asked, {told.known:,} known, {told.failed:,} failed, {cost}"
    more = f"; {told.left:,} not asked, for their cost" if told.left else ""
    return Shown(told.model_dump(mode="json"), f"{text}{more}", ok=not told.failed)


def _questions(file: IO[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        try:
            found = json.loads(line) if line.strip() else None
        except ValueError:
            found = line
        if isinstance(found, dict):
            yield found
        elif found is not None:
            raise click.ClickException(f"Line {number} is no JSON object.")


def _cache_line(state: CacheState) -> str:
    """Return how the cached answers of one stand, in words."""
    by = (state.local_hits, state.shared_hits, state.similar_hits)
    memory, redis, similar = (hits / (sum(by) + state.misses or 1) for hits in by)
    told = f"{state.entries:,} answers, {state.bytes:,} bytes"
    shares = f"memory {memory:.1%}, Redis {redis:.1%}"
    audit = ""
    if state.semantic is not None:
        shares += f", similar {similar:.1%}"
        audit = f"  semantic {state.semantic}: {state.wrong:,} of {state.compared:,} wrong"
    hits = f"hits {state.hit_rate:.1%} ({shares})"
    return visible(f"{state.name}  {told}  {hits}{audit}  saved {state.saved_usd:.6f} dollars")


@agents.command("tenants", cls=Command)
@click.pass_context
def list_tenants(ctx: click.Context) -> Shown:
    """Show what tenants have queued and in flight, and what they weigh."""
    with client_of(ctx) as client:
        found = client.tenants()
    text = fitted(map(_tenant_line, found)) or "No tenant has anything queued or in flight."
    return Shown([state.compact() for state in found], text)


def _tenant_line(state: TenantState) -> str:
    """Return how a tenant stands in a queue, in words."""
    oldest = [] if state.oldest_s is None else [f"the oldest since {state.oldest_s:,.0f} s"]
    now = [f"{state.queued:,} queued", f"{state.in_flight:,} in flight", f"weight {state.weight:g}"]
    return "  ".join([state.name or "(nobody in particular)", state.queue, *now, *oldest])


@agents.group()
def budgets() -> None:
    """Budgets of agents, tenants and runs."""


@budgets.command("list", cls=Command)
@click.option("--tenant", help="Of those per tenant, this one's alone.")
@click.pass_context
def list_budgets(ctx: click.Context, tenant: str | None) -> Shown:
    """Show how budgets stand: what is spent, reserved, and in doubt."""
    with client_of(ctx) as client:
        found = client.budgets(tenant=tenant)
    text = fitted(map(_budget_line, found)) or "No budget has anything booked."
    return Shown([state.model_dump(mode="json") for state in found], text)


@budgets.command("release", cls=Command)
@click.argument("name")
@click.option("--subject", help="The tenant, agent or run; else all that have it.")
@click.pass_context
def release_budget(ctx: click.Context, name: str, subject: str | None) -> Shown:
    """Count calls of budget NAME that are in doubt as ones that have cost nothing."""
    with client_of(ctx) as client:
        freed = client.budgets.release(name, subject)
    text = f"{freed.calls:,} calls were released, {freed.usd:.6f} dollars."
    return Shown({"name": name, **freed.model_dump(mode="json")}, text)


#: A pause that is longer has no end of its own.
_YEAR_S = 365 * 24 * 3600.0


def _limit_line(state: LimitState) -> str:
    """Return how a limit stands, in words."""
    policy = state.policy
    given = policy.compact().keys() - {"covers", "per", "learn", "burst_s"}
    numbers = [f"{name} {getattr(policy, name):,}" for name in sorted(given)]
    told = [f"learned {what} {number:,.0f}" for what, number in sorted(state.learned.items())]
    paused = [] if state.paused_s is None else [f"paused for {state.paused_s:,.0f} s"]
    if (state.paused_s or 0.0) > _YEAR_S:
        paused = ["paused until it is resumed"]
    name = f"{state.name} of {state.subject}" if state.subject else state.name
    now = [f"{state.in_use:,} under way", f"{state.waiting:,} wait"]
    return "  ".join([name, *now, *paused, *numbers, *told])


def _budget_line(state: BudgetState) -> str:
    """Return how a budget stands, in words."""
    policy, parts = state.policy, []
    amounts = {"spent": state.spent, "reserved": state.reserved, "in doubt": state.in_doubt}
    for unit in UNITS:
        if (bound := getattr(policy, unit)) is not None:
            now = ", ".join(f"{getattr(a, unit):,.9g} {word}" for word, a in amounts.items())
            parts.append(f"{now} of {bound:,.9g} {unit}")
    name = f"{state.name} of {state.subject}" if state.subject else state.name
    if state.ends_at is not None:
        at = datetime.fromtimestamp(state.ends_at, ZoneInfo(policy.zone))
        parts.append(f"until {at:%Y-%m-%d %H:%M:%S} {policy.zone}")
    return visible("  ".join([name, *parts]))


def _said(choice: str) -> Any:
    """Read an answer: JSON where it is true, false or an object, else the words themselves."""
    try:
        read = json.loads(choice)
    except ValueError:
        return choice
    return read if isinstance(read, bool | dict) else choice


def _known(client: Client, run_id: str) -> bool:
    try:
        return client.runs.known(run_id)
    except ResultTimeoutError as error:
        click.echo(visible(f"No worker says whether there is a run {run_id}: {error}"), err=True)
        return True
