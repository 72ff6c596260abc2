"""Built-in tools on the worker's loop: quick ones, and with arguments that keep it free."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

import pytest

from agents.tools.base import CallContext, Tool
from agents.tools.calls import ToolError
from agents.tools.policy import ToolPolicy
from agents.toolsets.builtin.catalogue import functions, offers
from agents.toolsets.builtin.offer import Offer, made
from agents.values import within
from tests.support.memory_step import MemoryStep
from tests.unit.agents.toolsets.builtin.test_bombs import REFUSED

#: Seconds of CPU that the loop may be held up; the calls below take less than a fiftieth of that.
LAG_S = 0.05
INLINE = [name for name, offer in offers().items() if offer.inline]
TOOLS = {name: made(functions()[name]) for name in INLINE}
LONG = "0123456789" * 6

#: Of each tool that runs on the loop: arguments that take it longest and still run there.
WORST: dict[str, list[dict[str, Any]]] = {
    "text.count_text": [{"text": "a. " * 333}, {"text": "." * 1_000}, {"text": "ü! " * 333}],
    "text.split_text": [{"text": "a. " * 160, "size": 1, "overlap": 0, "by": "sentences"},
                        {"text": "a" * 480, "size": 21, "overlap": 20, "by": "characters"}],
    "text.find_text": [{"text": "a\n" * 74, "pattern": "a", "context": 20, "most": 1_000}],
    "text.extract_patterns": [{"text": "a@" * 130}, {"text": "1" * 260}, {"text": "a.b@c." * 45},
                              {"text": "DE89370400440532013000 " * 11}, {"text": "1.1." * 60},
                              {"text": "https://" * 30}],
    "text.compare_texts": [{"text": "ab" * 200, "others": ["ba" * 200]},
                           {"text": "a", "others": ["b"] * 100, "most": 100}],
    "text.hash_text": [{"text": "a" * 9_900, "algorithm": "sha512"}],
    "text.transform_text": [{"text": "ﷺ" * 190, "change": change} for change in ("slug", "nfkc")],
    "text.encode_text": [{"text": "&amp;" * 380, "scheme": "html", "decode": True},
                         {"text": "%41" * 600, "scheme": "url", "decode": True}],
    "web.parse_url": [{"url": "https://a.org/" + "../" * 150}, {"url": "http://" + "ü" * 60},
                      {"url": "https://a.org/?" + "a=b&" * 110}],
    "maths.calculate": [{"expression": f"({LONG[:40]}) ** 9"}, {"expression": f"1/{LONG[:50]}"},
                        {"expression": "(" * 28 + "1" + ")" * 28}, {"expression": "-" * 55 + "1"},
                        {"expression": "1/7-1/11-1/13-1/17-1/19-1/23-1/29-1/31-1/37-1/41-1/43"}],
    "maths.statistics": [{"values": [1e308, 1e-308, -1e308] * 7}, {"values": [0.1] * 22},
                         {"values": [1e300, 1e-300] * 5, "others": [1e-300, 1e300] * 5}],
    "maths.random_values": [{"kind": "normal", "count": 100},
                            {"kind": "shuffle", "items": ["a"] * 100, "count": 100}],
    "maths.geo_distance": [{"latitude": 1, "longitude": 2, "to_latitude": 3, "to_longitude": 4}],
    "maths.solve_linear": [
        {"equations": [["1e99", "1e-99"], ["1e-99", "1e99"]], "right": ["1e99", "1e-99"]}],
    "maths.matrix": [{"action": "inverse", "rows": [[2, 3, 5], [7, 11, 13], [17, 19, 23]]},
                     {"action": "inverse", "rows": [["1e99", "7e-99"], ["3e-99", "1e99"]]}],
    "maths.number_theory": [
        {"action": "modpow", "number": 10**18 - 1, "other": 10**18 - 1, "modulus": 10**18 - 1},
        {"action": "is_prime", "number": 999999999999999989},
        {"action": "next_prime", "number": 492_113}, {"action": "divisors", "number": 720_720}],
    "maths.convert_number": [{"number": "z" * 60, "to": "binary", "base": 36},
                             {"number": "9" * 20, "to": "words"}],
    "maths.probability": [{"distribution": "binomial", "n": 100_000, "x": 100},
                          {"distribution": "permutations", "n": 1_000, "x": 100}],
    "maths.finance": [{"action": "npv", "rate": 0.1, "payments": [1.1] * 20},
                      {"action": "annuity", "rate": 0.0123, "periods": 1_200, "amount": 1e15}],
    "dates.now": [{"zone": "UTC"}],
    "dates.parse_date": [{"text": "Thursday the 4th of September 2026 at 10:30:15.123456 UTC"},
                         {"text": "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"}, {"text": "(" * 60}],
    "dates.format_date": [{"date": "2026-05-04", "form": "%c" * 20}, {"date": "9999-12-31"}],
    "dates.describe_date": [{"date": "2026-05-04T10:00+02:00"}],
    "dates.date_difference": [{"start": "0001-01-02", "end": "9999-12-30"}],
    "dates.convert_timezone": [
        {"time": "9999-12-30T10:00", "from_zone": "UTC", "to_zone": "Europe/Berlin"}],
    "dates.add_to_date": [{"date": "2026-05-04", "business_days": -100}],
    "dates.parse_duration": [{"text": "1 day " * 16}, {"text": "1" * 99}],
    "dates.find_free_time": [
        {"busy": [{"start": "2026-05-04T09:00", "end": "2026-05-04T10:00"}] * 6,
         "start": "2026-05-04", "end": "2027-05-04", "minutes": 1}],
    "dates.wait_until": [{"time": "0001-01-02"}, {"time": "9999-12-30"}],
}  # fmt: skip


def call(tool: Tool, arguments: dict[str, Any]) -> tuple[float, bool]:
    """The seconds of CPU for which a call held up the loop, and whether it was made there."""

    async def main() -> tuple[float, bool]:
        here = tool.runs_on_loop(arguments)
        began = time.thread_time()
        with suppress(ToolError):
            await tool.call(arguments, context=CallContext("key", MemoryStep()))
        return time.thread_time() - began, here

    return asyncio.run(main())


def warm(name: str) -> Tool:
    """The tool once it was called."""
    call(TOOLS[name], dict(offers()[name].example))
    for zone in ("UTC", "Europe/Berlin", "Asia/Tokyo"):
        call(TOOLS["dates.now"], {"zone": zone})
    return TOOLS[name]


def test_each_that_runs_on_the_loop_has_its_worst_arguments() -> None:
    assert sorted(WORST) == sorted(INLINE)


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, one) for name, cases in WORST.items() for one in cases]
)
def test_the_worst_arguments_hold_up_the_loop_for_a_moment(
    name: str, arguments: dict[str, Any]
) -> None:
    tool = warm(name)
    took_s, here = min(call(tool, arguments) for _ in range(3))
    assert here
    assert took_s < LAG_S


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, one) for name, one, _ in REFUSED if name in INLINE]
)
def test_a_bomb_holds_up_the_loop_no_longer(name: str, arguments: dict[str, Any]) -> None:
    tool = warm(name)
    try:
        took_s, _ = min(call(tool, arguments) for _ in range(2))
    except ToolError:  # refused before it is called
        return
    assert took_s < LAG_S


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("text.count_text", {"text": "a" * 1_001}),
        ("text.find_text", {"text": "a", "pattern": "((a{9}){9}){9}", "regex": True}),
        ("maths.calculate", {"expression": "9 ** 99"}),
        ("maths.calculate", {"expression": "9 ^ 9 ^ 9"}),
        ("maths.calculate", {"expression": "1e2000 * 3"}),
        ("maths.calculate", {"expression": "factorial(1000)"}),
        ("maths.number_theory", {"action": "factors", "number": 999_999_999_999_999_877}),
        ("maths.random_values", {"kind": "floats", "count": 10_000}),
        ("maths.finance", {"action": "irr", "payments": [-1, 2]}),
        ("dates.now", {"zone": "Antarctica/Troll"}),
        ("dates.add_to_date", {"date": "2026-05-04", "business_days": 9_000}),
        ("dates.describe_date", {"date": "2026-05-04", "country": "DE"}),
    ],
)  # fmt: skip
def test_what_may_take_longer_goes_to_a_thread(name: str, arguments: dict[str, Any]) -> None:
    assert not warm(name).runs_on_loop(arguments)


def test_the_first_call_imports_and_so_goes_to_a_thread() -> None:
    tool = made(functions()["dates.parse_date"])
    example = dict(offers()["dates.parse_date"].example)
    assert not tool.runs_on_loop(example)
    call(tool, example)
    assert tool.runs_on_loop(example)


@pytest.mark.parametrize(
    ("value", "most", "fits"),
    [
        ("abc", 3, True),
        ("abcd", 3, False),
        (["a"], 9, True),
        (["a", "a"], 17, False),
        ({"a": "b"}, 10, True),
        ({"a": "b"}, 9, False),
        ([[[["a" * 100]]]], 100, False),
        (10**1_000, 100, False),
        ([None] * 10**6, 1_000, False),
    ],
)
def test_size_of_arguments(value: Any, most: int, fits: bool) -> None:
    assert within(value, most) == fits


def test_the_size_of_a_call_is_that_of_all_its_arguments() -> None:
    chance = random.Random(1)
    values: list[Any] = ["", "abc", "a" * 90, 0, 7, 2**200, True, None, 1.5, [], ["ab", 2]]
    values += [{"a": ["b"] * 9}, [[["a" * 40]]]]
    for _ in range(2_000):
        given = {str(n): one for n, one in enumerate(chance.choices(values, k=4))}
        inline = chance.randrange(1, 250)
        offer = Offer(ToolPolicy(), {}, inline=inline)
        whole = within([*given.values()], inline + 8 * len(given))
        assert offer.in_thread(given) == (not whole)
    assert Offer(ToolPolicy(), {}, inline=9, unless=lambda given: given["a"]).in_thread({"a": "b"})
