"""Arguments that would hold a worker: each ends within a second, and its model is told why."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agents.tools.calls import ToolError
from tests.unit.agents.toolsets.builtin.support import called, example

#: Seconds of CPU: none takes one on a usual machine, where without a bound it takes minutes.
LIMIT_S = 5.0
LINES = "\n".join(str(n % 97) for n in range(1_000))
OTHERS = "\n".join(str(n * 7 % 97) for n in range(1_000))

#: Calls that have no good answer, with a word of the error.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("text.find_text", {"text": "x", "pattern": r"(?=x)", "regex": True}, "lookaround"),
    ("text.find_text", {"text": "x", "pattern": r"((a{100}){100}){100}", "regex": True}, "RE2"),
    ("text.find_text", {"text": "x", "pattern": "x" * 1_001}, "1000"),
    ("text.replace_text", {"text": "a" * 10**6, "pattern": "a", "replacement": "b" * 10**4},
     "long"),
    ("text.replace_text", {"text": "a", "pattern": "a", "replacement": r"\7", "regex": True},
     "fit"),
    ("text.diff_texts", {"before": "\n" * 10_000, "after": ""}, "lines"),
    ("text.html_to_markdown", {"html": "<div>" * 30_000}, "deep"),
    ("text.patch_text", {"text": "a\n", "patch": "@@ -1 +1 @@\n-b\n+c\n"}, "does not fit"),
    ("text.encode_text", {"text": "ü", "scheme": "hex", "decode": True}, "hex"),
    ("text.count_text", {"text": "a" * (10**6 + 1)}, "1000000"),
    ("maths.calculate", {"expression": "9 ** 9 ** 9"}, "too big"),
    ("maths.calculate", {"expression": "1e999999999"}, "no number"),
    ("maths.calculate", {"expression": "1e9999"}, "too big"),
    ("maths.calculate", {"expression": "factorial(100000)"}, "1000"),
    ("maths.calculate", {"expression": "1 / 0"}, "zero"),
    ("maths.calculate", {"expression": "(" * 500 + "1" + ")" * 500}, "expression"),
    ("maths.calculate", {"expression": "-" * 1_900 + "1"}, "deep"),
    ("maths.calculate", {"expression": "9" * 1_900 + " * " + "2" * 90 + "**99"}, "too big"),
    ("maths.calculate", {"expression": "__import__('os').system('true')"}, "not known"),
    ("maths.calculate", {"expression": "'a' * 10 ** 9"}, "no number"),
    ("maths.calculate", {"expression": "(-8) ^ 0.5"}, "real"),
    ("maths.calculate", {"expression": "sin(1, 2, 3)"}, "no value"),
    ("maths.convert_units", {"value": "1", "unit": "10**10**10", "to": "m"}, "no unit"),
    ("maths.convert_units", {"value": "1", "unit": "m**99**99", "to": "m"}, "no unit"),
    ("maths.convert_units", {"value": "1", "unit": "kg", "to": "m"}, "cannot be converted"),
    ("maths.convert_units", {"value": "1", "unit": "blorb", "to": "m"}, "no unit"),
    ("maths.convert_number", {"number": "1e999999", "to": "decimal"}, "digits"),
    ("maths.solve_linear", {"equations": [["1e999999999"]], "right": [1]}, "no number"),
    ("maths.find_root", {"expression": "x ^ 2 + 1", "low": -9, "high": 9}, "one sign"),
    ("maths.find_root", {"expression": "x ^ 9 ^ 9", "low": 0, "high": 9}, "too big"),
    ("maths.matrix", {"action": "inverse", "rows": MATRIX}),
    ("maths.probability", {"distribution": "binomial", "n": 100_000, "x": 100_000}),
    ("maths.finance", {"action": "irr", "payments": [-1000, *[1] * 1_199]}),
    ("dates.next_times", {"rule": "FREQ=HOURLY", "after": "2026-03-01"}),
    ("dates.next_times", {"rule": "FREQ=MONTHLY;INTERVAL=12;BYMONTH=2", "after": "2026-03-01"}),
    ("dates.next_times", {"rule": "FREQ=DAILY;BYDAY=FR;BYMONTHDAY=13",
                          "after": "2026-03-01"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "word"), REFUSED)
def test_refused(name: str, arguments: dict[str, Any], word: str) -> None:
    example(name)  # its packages are imported
    begun = time.process_time()
    with pytest.raises(ToolError, match=word):
        called(name, **arguments)
    assert time.process_time() - begun < LIMIT_S


@pytest.mark.parametrize(("name", "arguments"), SLOW)
def test_slow(name: str, arguments: dict[str, Any]) -> None:
    example(name)  # its packages are imported
    begun = time.process_time()
    called(name, **arguments)
    assert time.process_time() - begun < LIMIT_S
