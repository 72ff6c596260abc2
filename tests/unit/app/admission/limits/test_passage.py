"""Limits as one process uses them: without Redis, and along the requests of a turn."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as AwayError

from agents.base import Turn
from agents.governance.estimate import expected
from agents.needs import Needs
from app.admission import scripts
from app.admission.limits.passage import Passage
from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import Asker, NotAdmitted
from app.admission.scripts import Scripts
from app.concurrency.loop import process_loop
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import NotAdmittedError, ProviderUnavailableError, RateLimitedError
from tests.support.entries import agent_of

GPT = {"kind": "openai", "model": "m", "api_key_env": "KEY_A"}
ACCOUNT = "provider:openai#KEY_A"
#: Tokens that a turn of 300 signs is expected to take: 165 of them, and an answer's.
SIGNS, HELD = "?" * 300, 165 + 1_000


class Redis:
    """Answers each ask as it is told to, all else with ``pumped``; notes what it is told."""

    def __init__(self, *answers: Any, pumped: Any = ((), ())) -> None:
        self.answers = list(answers)
        self.pumped = pumped
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.away = False

    def register_script(self, text: str) -> Any:
        return SimpleNamespace(script=text, sha=f"script {text[-200:]}")

    def exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self.away:
            raise AwayError("down")
        return [self._answer(sha, arguments) for _, sha, _count, *arguments in commands]

    def _answer(self, sha: str, arguments: list[Any]) -> Any:
        self.asked.append((sha, tuple(arguments)))
        if len(arguments) == 5 and arguments[3] in {"0", "1"}:  # of one that asks
            return [self.answers.pop(0)]
        tells = len(arguments) == 4 and str(arguments[2]).startswith("[")
        return [self.pumped] if tells else self.pumped


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "exchange", Redis.exchange)


def limits_of(
    redis: Redis, workers: int = 1, place: int = 0, **policies: LimitPolicy
) -> SharedLimits:
    shared = Scripts(redis)  # type: ignore[arg-type]  # what it needs of a client
    return SharedLimits(shared, policies, lease_s=7, standing=lambda: (place, workers))


@pytest.fixture
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "TRY_AGAIN_S", 0.0)


def gpt() -> Any:
    return agent_of("gpt", lambda: None, None, GPT)


def ask(limits: SharedLimits, who: str, needs: Needs = Needs()) -> NotAdmitted | None:  # noqa: B008 - a value
    ticket = limits.ticket(gpt(), Asker(who), "run", needs)
    found: NotAdmitted | float = limits.scripts.run(limits.asking(ticket)).result()
    return found if isinstance(found, NotAdmitted) else None


@pytest.mark.usefixtures("_soon_again")
@pytest.mark.parametrize(
    ("place", "workers", "share"),
    [(0, 1, 10), (1, 2, 5), (1, 4, 3), (2, 4, 2), (9, 20, 1), (10, 20, 0), (19, 20, 0)],
)
def test_without_redis_a_process_goes_by_its_share(place: int, workers: int, share: int) -> None:
    redis = Redis()
    redis.away = True
    limits = limits_of(redis, workers, place, x=LimitPolicy(concurrent=10))
    found = [ask(limits, f"w{n}") for n in range(12)]
    assert [one is None for one in found] == [True] * share + [False] * (12 - share)
    refused = found[-1]
    assert refused is not None
    assert not refused.parks  # there is no queue to stand in
    assert refused.error().retry_after_s == 1
    if share:
        limits.tell(limits.ticket(gpt(), Asker("w0"), "run", Needs()), Needs()).result()
        assert ask(limits, "next") is None
        assert ask(limits, "another") is not None


@pytest.mark.usefixtures("_soon_again")
@pytest.mark.parametrize(("workers", "most"), [(3, 10), (7, 7), (20, 3)])
def test_without_redis_all_shares_together_are_the_limit(workers: int, most: int) -> None:
    passed = 0
    for place in range(workers):
        redis = Redis()
        redis.away = True
        limits = limits_of(redis, workers, place, x=LimitPolicy(concurrent=most))
        passed += sum(ask(limits, f"w{n}") is None for n in range(most + 1))
    assert passed == most


@pytest.mark.usefixtures("_soon_again")
def test_without_redis_it_is_said_what_holds(caplog: pytest.LogCaptureFixture) -> None:
    redis = Redis()
    redis.away = True
    ask(limits_of(redis, x=LimitPolicy(concurrent=1)), "w")
    assert "own share of limits" in caplog.text
    assert "reakers" not in caplog.text


@pytest.mark.usefixtures("_soon_again")
def test_without_redis_a_rate_is_shared_too() -> None:
    redis = Redis()
    redis.away = True
    limits = limits_of(redis, 4, x=LimitPolicy(requests_per_minute=6, burst_s=200.0))
    assert sum(ask(limits, f"w{n}") is None for n in range(20)) == 5


@pytest.mark.usefixtures("_soon_again")
@pytest.mark.parametrize(("text", "admitted"), [("", 11), (SIGNS, 10), ("日本語" * 700, 3)])
def test_so_many_turns_that_nobody_has_learned_of_pass_at_once(text: str, admitted: int) -> None:
    """Of 12,000 tokens, of which each needs 1,000 for its answer."""
    redis = Redis()
    redis.away = True
    limits = limits_of(redis, x=LimitPolicy(tokens_per_minute=60, burst_s=12_000.0))
    needs = expected([text])
    assert sum(ask(limits, f"w{n}", needs) is None for n in range(20)) == admitted


def run(work: Coroutine[Any, Any, None]) -> None:
    process_loop().submit(work).result(20)


def step(**more: Any) -> Any:
    about = {"step_id": "s", "run_id": "r", "tenant": "", "priority": 5, "tries": 1}
    return SimpleNamespace(**about | more)


class Way:
    """A turn of ``gpt`` through one limit."""

    def __init__(self, *answers: Any, policy: LimitPolicy | None = None, **more: Any) -> None:
        self.redis = Redis(*answers)
        one = policy or LimitPolicy(tokens_per_minute=6000, concurrent=1)
        self.limits = limits_of(self.redis, x=one)
        self.passage = Passage(self.limits, gpt(), Turn(input=SIGNS), step(**more))

    def enter(self) -> None:
        run(self.passage.entered(self.limits.scripts.run(self.passage.asking()).result()))

    async def request(self, what: Any = None) -> None:
        async with self.passage.request(lambda: Needs(50, 10)) as made:
            if isinstance(what, BaseException):
                raise what
            made.usage = what

    @property
    def told(self) -> list[tuple[list[int], Sequence[Any]]]:
        """By how much the costs of what was told were wrong, and what was said."""
        self.limits.pump().result()  # after all that was handed in before
        return [
            (json.loads(arguments[2]), json.loads(arguments[3]))
            for _, arguments in self.redis.asked
            if len(arguments) == 4 and arguments[3] not in {"0", "1"}
        ]


def test_the_first_request_is_asked_for_with_the_turn_and_the_next_ones_alone() -> None:
    way = Way([0], policy=LimitPolicy(tokens_per_minute=6000))
    way.enter()
    run(way.request(Usage(calls=1, input_tokens=90, output_tokens=20)))
    assert way.told == [([0, 0, 110 - HELD], [])]
    way.redis.answers = [[0]]
    run(way.request(Usage(calls=1, input_tokens=40, output_tokens=20)))
    assert way.told[1:] == [([0, 0, 0], [])]
    way.passage.close(None, None)
    assert len(way.told) == 2


@pytest.mark.parametrize(("kind", "counted"), [("openai", 90), ("anthropic", 20)])
def test_what_anthropic_reads_from_its_cache_counts_toward_no_limit(
    kind: str, counted: int
) -> None:
    redis = Redis([0])
    limits = limits_of(redis, x=LimitPolicy(input_tokens_per_minute=6000))
    agent = agent_of("x", lambda: None, None, {"kind": kind, "model": "m"})
    passage = Passage(limits, agent, Turn(input=SIGNS), step())
    run(passage.entered(limits.scripts.run(passage.asking()).result()))

    async def request() -> None:
        async with passage.request(lambda: Needs(50, 10)) as made:
            made.usage = Usage(calls=1, input_tokens=90, output_tokens=20, cached_tokens=70)

    run(request())
    limits.pump().result()
    (told,) = [json.loads(a[2]) for _, a in redis.asked if len(a) == 4 and a[3] not in {"0", "1"}]
    assert told[-1] == counted - 165  # the turn's own


def test_an_agent_that_is_made_anew_of_another_kind_is_limited_as_that() -> None:
    """Over the API, under the same name; its process has asked it before."""
    limits = limits_of(Redis(), x=LimitPolicy(concurrent=3, covers=("kind:openai",)))
    http, model = (replace(agent_of("a", lambda: None), kind=kind) for kind in ("http", "openai"))
    for agent, limited in ((http, False), (model, True), (http, False)):
        assert bool(limits.of(agent)) == limited
        assert bool(limits.ticket(agent, Asker("w"), "run", Needs()).held) == limited


def test_a_turn_that_makes_no_request_of_its_own_is_one() -> None:
    way = Way([0])
    way.enter()
    way.passage.close(Usage(input_tokens=HELD), None)
    assert way.told == [([0, 0, 0, 0], [])]


def test_what_is_known_is_given_back() -> None:
    way = Way([0])
    way.enter()
    way.passage.makes_calls()
    way.passage.close(Usage(input_tokens=HELD), None)
    assert way.told == [([0, 0, 0, -HELD], [])]


def test_a_refusal_in_the_middle_says_for_what_it_waits() -> None:
    way = Way([0], [3, -1, 4])
    way.enter()
    run(way.request(Usage()))
    with pytest.raises(NotAdmittedError, match=r"waits for limit x, place 5$") as caught:
        run(way.request())
    assert isinstance(caught.value.refusal, NotAdmitted)
    assert caught.value.details == {"limit": "x", "place": 5}
    way.passage.close(None, caught.value)
    assert len(way.told) == 1  # there is nothing more to give back


@pytest.mark.parametrize(
    ("error", "wrong", "said"),
    [
        (RateLimitedError("slow", {"retry_after_s": 7}), -HELD, [["pause", ACCOUNT, 7000.0]]),
        (RateLimitedError("slow"), -HELD, [["pause", ACCOUNT, 1000.0]]),
        (RateLimitedError("now", {"retry_after_s": 0}), -HELD, [["pause", ACCOUNT, 1000.0]]),
        (ProviderUnavailableError("down"), -1_000, []),
    ],
)
def test_a_refusal_of_the_provider_closes_its_key(error: Any, wrong: int, said: Any) -> None:
    way = Way([0])
    way.enter()
    with pytest.raises(type(error)):
        run(way.request(error))
    assert way.told == [([0, 0, 0, wrong], said)]


def test_who_gives_up_gives_back_what_it_gets() -> None:
    way = Way([0])
    asked = way.limits.scripts.run_all([way.passage.asking()])
    way.passage.given_up(asked)
    assert way.told == [([0, 0, 0, -HELD], [])]
    refused = Way([3, 50, 0])
    refused.passage.given_up(refused.limits.scripts.run_all([refused.passage.asking()]))
    assert refused.told == []


def test_of_a_provider_that_tells_nothing_answers_and_refusals_are_counted() -> None:
    way = Way([0], policy=LimitPolicy(learn=True))
    way.enter()
    run(way.request(Usage()))
    way.redis.answers = [[0]]
    with pytest.raises(RateLimitedError):
        run(way.request(RateLimitedError("slow")))
    (_, answered), (_, refused) = way.told
    assert answered == [["answered", ACCOUNT]]
    assert refused == [["refused", ACCOUNT], ["pause", ACCOUNT, 1000.0]]


def test_those_that_are_granted_something_are_heard_of() -> None:
    redis = Redis(pumped=[[b"a", b"b"], [b"S:x", 70, b"S:x", 50, b"R:y", 1000]])
    limits = limits_of(redis, x=LimitPolicy(concurrent=1))
    heard: list[Any] = []
    limits.heard = heard.append
    pumped = limits.pump(["S:x"]).result()
    assert heard == [pumped]
    assert pumped.woken == ("a", "b")
    assert pumped.again == {"S:x": 0.05, "R:y": 1.0}
