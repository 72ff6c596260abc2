"""Requests wait for no answer, latencies count from the due time, and a report is what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, cast

import pytest

from app.load.arrivals import due, endurance
from app.load.figures import held, quantile
from app.load.page import page
from app.load.report import LoadReport, Tolerance, reported
from app.load.trial import Trial
from app.load.witness import RunEnd, Witness
from celery_agents.errors import BrokerUnavailableError


class Service:
    """Ends what it was sent after a time, apart from what it loses."""

    def __init__(self, takes_s: float = 0.0, lost: Sequence[int] = ()) -> None:
        self.takes_s, self.lost = takes_s, lost
        self.sent: dict[str, float] = {}
        self.twice = 0
        self.reasons = ["timeout: It took too long."]

    def send(self, numbers: Sequence[int]) -> list[str]:
        ids = [str(number) for number in numbers]
        self.sent.update((i, time.time()) for i in ids)
        return ids

    def ends(self, run_ids: Sequence[str]) -> Iterator[RunEnd]:
        for i in run_ids:
            if int(i) not in self.lost and self.sent[i] + self.takes_s <= time.time():
                yield RunEnd(i, self.sent[i] + self.takes_s, "failed" if i == "3" else "succeeded")

    def errors(self, run_ids: Sequence[str]) -> Iterator[str]:
        for n, _ in enumerate(run_ids):
            yield self.reasons[n % len(self.reasons)]

    def known(self, run_ids: Sequence[str]) -> int:
        return len(run_ids)

    def paid_twice(self, _: Sequence[str]) -> int:
        return self.twice

    def memory(self) -> dict[str, int]:
        return {"w (1)": 100_000_000}


def tried(service: Any, *, rate: float = 50, most: int = 1000, drain_s: float = 5) -> Trial:
    made = Trial(
        service.send, cast("Witness", service), most=most, drain_s=drain_s, tell=lambda _: None
    )
    with made.watched():
        made.arrive(due(endurance((rate, rate), 0.4)))
        made.drain()
    return made


def told(trial: Trial, service: Any, bounds: Tolerance | None = None) -> LoadReport:
    about = {"agent": "<b>", "profile": "endurance", "bounds": bounds or Tolerance(0.5, 0.1)}
    return reported(trial, cast("Witness", service), **cast("Any", about))


def test_each_is_sent_once_and_its_end_is_found() -> None:
    service = Service()
    report = told(tried(service), service)
    assert (report.sent, report.ended, report.lost) == (20, 20, 0)
    assert report.states == {"succeeded": 19, "failed": 1}
    assert sum(s.due for s in report.by_second) == sum(s.ended for s in report.by_second) == 20


def test_a_tester_that_hangs_measures_it() -> None:
    """Else what was not asked meanwhile would be quick."""

    class Hanging(Service):
        def send(self, numbers: Sequence[int]) -> list[str]:
            if 0 in numbers:
                time.sleep(1)
            return super().send(numbers)

    service = Hanging()
    report = told(tried(service), service)
    assert report.sent == 20
    assert report.latency.p50_s > 0.5
    assert report.late_s > 0.5
    assert any("late itself" in line for line in report.found)


def test_what_is_not_good_is_told() -> None:
    service = Service(lost=[5])
    service.twice = 2
    report = told(tried(service, drain_s=0.2), service, Tolerance(p99_s=1e-9))
    assert not report.ok
    assert report.lost == 1
    assert [line.split()[0] for line in report.found][:2] == ["1", "2"]
    assert "went wrong" in report.found[2]
    assert "p99" in report.found[3]
    assert all(line in "\n".join(report.lines()) for line in report.found)


def test_why_those_that_failed_did_is_told() -> None:
    """A bounded number of reasons, of a bounded length, whatever errors say."""

    class Failing(Service):
        def ends(self, run_ids: Sequence[str]) -> Iterator[RunEnd]:
            return (replace(end, state="dead") for end in super().ends(run_ids))

    service = Failing()
    report = told(tried(service), service)
    assert report.reasons == {"timeout: It took too long.": 20}
    assert "failed     20: timeout: It took too long." in [*report.lines()]
    assert "<td>failed by timeout: It took too long.</td>" in page(report)
    service.reasons = ["a", "a", "b<i>\n" + "x" * 1000, *"cdefgh"]
    report = told(tried(service), service)
    assert len(report.reasons) == 6
    assert next(iter(report.reasons.items()))[0] == "a"
    assert sum(report.reasons.values()) == 20
    assert max(map(len, report.reasons)) <= 160
    assert "for other reasons" in report.reasons
    assert "<i>" not in page(report)


def test_it_is_bounded() -> None:
    service = Service()
    trial = tried(service, most=7)
    assert len(service.sent) == 7
    assert trial.exhausted
    assert any("--most" in line for line in told(trial, service).found)


def test_a_broker_that_is_away_is_told() -> None:
    class Away(Service):
        def send(self, numbers: Sequence[int]) -> list[str]:
            raise BrokerUnavailableError("it is away")

    service = Away()
    report = told(tried(service), service)
    assert (report.sent, report.refused) == (0, 20)
    assert not report.ok
    assert "it is away" in (report.refused_with or "")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    service = Service(lost=[5])
    report = replace(told(tried(service, drain_s=0.1), service), found=["<script>x</script>"])
    text = page(report)
    parser = _Tags()
    parser.feed(text)
    assert {"svg", "table", "style"} <= set(parser.tags)
    assert not {"script", "b", "link", "img", "iframe"} & set(parser.tags)
    names = {name for name, _ in parser.attributes}
    assert not {n for n in names if n.startswith("on")} | (names & {"src", "href", "style"})
    policy = dict(parser.attributes)
    assert policy
    assert "default-src 'none'; style-src 'sha256-" in text
    json.dumps(report.as_json())


@pytest.mark.parametrize(
    ("ordered", "share", "found"),
    [([], 0.5, 0), ([1], 0.99, 1), ([1, 2, 3, 4], 0.5, 2), ([1, 2, 3, 4], 0.99, 4)],
)
def test_quantiles(ordered: list[float], share: float, found: float) -> None:
    assert quantile(ordered, share) == found


def test_memory_that_grows_has_a_slope() -> None:
    samples = [(float(t), {"a": 10_000_000 + t * 100_000, "b": 5_000_000}) for t in range(0, 60, 2)]
    grows, stays = held(samples)
    assert grows.slope_mb_min == pytest.approx(6)
    assert stays.slope_mb_min == pytest.approx(0)
    assert held(samples[:3])[0].slope_mb_min is None
