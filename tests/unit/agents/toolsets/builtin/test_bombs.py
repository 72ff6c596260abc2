"""Arguments that would hold a worker: each ends within a second, and its model is told why."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agents.tools.calls import ToolError
from agents.toolsets.builtin import markup
from agents.toolsets.builtin.data import sql, statements
from agents.toolsets.builtin.deadlines import time_limit
from tests.support.drawn import is_full
from tests.unit.agents.toolsets.builtin.support import called, example

#: Seconds of CPU: none takes one on a usual machine, where without a bound it takes minutes.
LIMIT_S = 5.0
LINES = "\n".join(str(n % 97) for n in range(1_000))
OTHERS = "\n".join(str(n * 7 % 97) for n in range(1_000))

DEEP: list[Any] = []
for _ in range(900):
    DEEP = [DEEP]
#: Each line has what the one before has nine times.
ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
)
DOUBLING = {
    "$ref": "#/$defs/0",
    "$defs": {
        **{str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)},
        "40": {"type": "string"},
    },
}
#: Patterns for names, and names that fit none of them.
PATTERNS: dict[str, Any] = {"patternProperties": {f"^x{n}y": {} for n in range(400)}}
NAMED = {f"name {n}": n for n in range(2_000)}

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
    ("data.query_json", {"value": 1, "expression": "|".join(["[@, @]"] * 40)}, "values"),
    ("data.query_json", {"value": 1, "expression": "|".join(["[@, @][]"] * 40)}, "values"),
    ("data.query_json", {"value": ["a" * 1_000] * 300, "expression": "|".join(
        ["join('', @)", *["[@, @, @]", "join('', @)"] * 9])}, "values"),
    ("data.query_json", {"value": 1, "expression": "(" * 900 + "@" + ")" * 900}, "Recursion"),
    ("data.query_json", {"value": DEEP, "expression": "@"}, "levels"),
    ("data.query_json", {"value": 1, "expression": "f("}, "Incomplete"),
    *[("text.html_to_markdown", {"html": html}, "too long") for html in (
        "<!--" * 50_000, "<ol>" + "<li>a</li>" * 19_000)],
    ("maths.statistics", {"values": [1, "nan"]}, "finite"),
    ("maths.find_root", {"expression": "x", "low": "-inf", "high": 1}, "finite"),
    ("maths.random_values", {"kind": "integers", "high": "inf"}, "finite"),
    ("web.extract_links", {"html": "a", "base_url": "http://[::1"}, "no URL"),
    *[("web.http_request", {"method": "PUT", "url": "https://example.com/echo", "headers": given},
       "no header")
      for given in ({"a b": "c"}, {"a": "b\r\nc: d"}, {"\u0430": "b"}, {"a": "\u0430"})],
    ("maths.probability", {"distribution": "normal", "x": 0, "deviation": 5e-324}, "too small"),
    ("dates.next_times", {"rule": "0 9 * * *", "after": "9999-12-31T10:00"}, "year 10000"),
    ("data.validate_json", {"value": 1, "schema": {"$ref": "http://127.0.0.1:9/x"}}, "fetched"),
    ("data.validate_json", {"value": 1, "schema": {"$id": "file:///etc/", "$ref": "passwd"}},
     "fetched"),
    ("data.validate_json", {"value": 1, "schema": {"$ref": "#"}}, "back to itself"),
    ("data.validate_json", {"value": 1, "schema": DOUBLING}, "values"),
    ("data.validate_json", {"value": NAMED, "schema": PATTERNS}, "values"),
    ("data.validate_json", {"value": NAMED, "schema": {"additionalProperties": True, **PATTERNS}},
     "values"),
    ("data.validate_json", {"value": {"x" * 500_000: 1}, "schema": PATTERNS}, "values"),
    ("data.validate_json", {"value": 1, "schema": {"type": "strin"}}, "none of JSON Schema"),
    ("data.validate_json", {"value": {}, "schema": {"unevaluatedProperties": False}}, "not looked"),
    ("data.repair_json", {"text": "[{" * 25_000}, "open"),
    ("data.repair_json", {"text": "{'a': " * 8_000}, "open"),
    ("data.repair_json", {"text": "nothing"}, "no JSON"),
    ("data.patch_json", {"value": {"a": 1}, "operations": [
        {"op": "copy", "from": "", "path": f"/{n}"} for n in range(40)]}, "values"),
    ("data.patch_json", {"value": [1], "operations": [{"op": "remove", "path": "/9"}]}, "fit"),
    ("data.patch_json", {"value": [1], "operations": [
        {"op": "test", "path": "/0", "value": 2}]}, "nothing is changed"),
    ("data.diff_json", {"before": [*range(9_000)], "after": []}, "values"),
    ("data.convert_data", {"text": "[" * 100_000, "source": "json", "target": "yaml"}, "deep"),
    ("data.convert_data", {"text": "9" * 5_000, "source": "json", "target": "yaml"}, "4300"),
    ("data.convert_data", {"text": "[" * 100_000, "source": "yaml", "target": "json"}, "nesting"),
    ("data.convert_data", {"text": ALIASES, "source": "yaml", "target": "json"}, "values"),
    ("data.convert_data", {"text": MERGES, "source": "yaml", "target": "json"}, "values"),
    ("data.convert_data", {"text": "&a [*a]", "source": "yaml", "target": "json"}, "values"),
    ("data.convert_data", {"text": "!!python/object/apply:os.getcwd []", "source": "yaml",
                           "target": "json"}, "constructor"),
    ("data.convert_data", {"text": "a." * 50_000 + "a=1", "source": "toml", "target": "json"},
     "20 parts"),
    ("data.convert_data", {"text": "a=" + "[" * 90_000, "source": "toml", "target": "json"},
     "deep"),
    ("data.convert_data", {"text": "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "source": "xml",
                           "target": "json"}, "DTD"),
    ("data.convert_data", {"text": "<a>" * 20_000 + "</a>" * 20_000, "source": "xml",
                           "target": "json"}, "deep"),
    ("data.convert_data", {"text": "," * 199_999, "source": "csv", "target": "json"}, "columns"),
    ("data.describe_table", {"table": "a,b\n" + "1,2\n" * 50_001}, "rows"),
    ("data.describe_table", {"table": ""}, "no rows"),
    ("data.match_records", {"left": [{"a": 1}] * 1_000, "right": [{"b": 1}] * 1_000,
                            "left_column": "a", "right_column": "b"}, "pairs"),
    ("data.match_records", {"left": "a\n1\n", "right": "b\n1\n", "left_column": "x",
                            "right_column": "b"}, "no column 'x': a"),
    *[("data.query_table", {"tables": {"t": "a\n1\n2\n"}, "sql": sql}, word) for sql, word in (
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n",
         "second"),
        ("SELECT count(*) FROM " + ", ".join(f"t t{n}" for n in range(40)), "second"),
        ("SELECT printf('%.*c', 10000000000, 'x')", "printf"),
        ("SELECT json_patch('{}', '{}')", "json_patch"),
        ("SELECT hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex('" + "x" * 99 +
         "'))))))))))))", "too big"),
        ("ATTACH '/tmp/x' AS x", "Only SELECT"),
        ("SELECT load_extension('x')", "Only SELECT"),
        *((f"SELECT {call}", "Only SELECT|no such function") for call in (  # if SQLite has them
            "hex(fts3_tokenizer('simple'))", "FTS3_Tokenizer('simple', x'4141414141414141')",
            "sqlite_log(1, 'x')", "rtreecheck('t')")),
        ("PRAGMA database_list", "Only SELECT"),
        ("SELECT * FROM pragma_database_list", "Only SELECT"),
        ("DELETE FROM t", "Only SELECT"),
        ("VACUUM INTO '/tmp/x'", "VACUUM"),
        ("SELECT 1; SELECT 2", "one statement"))],
    ("data.inspect_sql", {"sql": "SELECT " + "(" * 900 + "1" + ")" * 900}, "deep"),
    ("data.inspect_sql", {"sql": "x " * 4_900}, "cannot be read"),
    *[("data.inspect_sql", {"sql": "SELECT " + name * 30, "dialect": dialect}, "second")
      for name, dialect in (("STRUCT(", ""), ("UNION(", "hive"), ("OBJECT(", "mysql"),
                            ("a JOIN ", ""))],
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
    ("maths.matrix", {"action": "inverse", "rows": [[1, 1], [1, 1]]}, "no inverse"),
    ("maths.statistics", {"values": [1, 1], "others": [1, 2]}, "no correlation"),
    ("maths.finance", {"action": "irr", "payments": [1, 2]}, "both signs"),
    ("dates.parse_date", {"text": "04/05/2026"}, "2026-05-04 .order: day. or 2026-04-05"),
    ("dates.parse_date", {"text": "Monday"}, "lacks"),
    ("dates.parse_date", {"text": "9" * 90}, "no date"),
    ("dates.format_date", {"date": "2026-05-04", "form": "%999999999d"}, "directive"),
    ("dates.now", {"zone": "../../etc/passwd"}, "no zone"),
    ("dates.add_to_date", {"date": "9999-12-31", "duration": "P1D"}, "9999"),
    ("dates.add_to_date", {"date": "2026-05-04", "duration": "P99999Y"}, "9999"),
    ("dates.list_holidays", {"country": "ZZ", "year": 2026}, "no holidays"),
    ("dates.next_times", {"rule": "FREQ=SECONDLY;BYMONTH=2", "after": "2026-01-01"}, "FREQ"),
    ("dates.next_times", {"rule": "FREQ=DAILY;INTERVAL=0", "after": "2026-01-01"}, "INTERVAL"),
    ("dates.next_times", {"rule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "after": "2026-01-01"},
     "never"),
    ("dates.next_times", {"rule": "FREQ=DAILY;INTERVAL=7;BYDAY=TU", "after": "2026-01-05"},
     "never"),
    ("dates.next_times", {"rule": "FREQ=YEARLY;BYSETPOS=999", "after": "2026-01-05"}, "BYSETPOS"),
    ("dates.next_times", {"rule": "0 0 30 2 *", "after": "2026-01-01"}, "cron"),
    ("dates.next_times", {"rule": "99 * * * *", "after": "2026-01-01"}, "cron"),
    ("dates.date_difference", {"start": "0001-01-01", "end": "9999-01-01", "country": "DE"},
     "years"),
]  # fmt: skip

LONG = [{"a": "ab" * 100 + str(n)} for n in range(1_000)]
#: It has an inverse.
MATRIX = [[f"{i * j % 97 + 99 * (i == j)}.{i}{j}" for i in range(20)] for j in range(20)]
#: Calls that have one, and would take long by other means.
SLOW: list[tuple[str, dict[str, Any]]] = [
    ("text.find_text", {"text": "a" * 900_000 + "b", "pattern": r"(a+)+$", "regex": True}),
    ("text.find_text", {"text": "a" * 100_000, "pattern": r"(.*)(.*)(.*)(.*)x", "regex": True}),
    ("text.count_text", {"text": "a. " * 300_000}),
    ("text.extract_patterns", {"text": "a@" * 100_000}),
    ("text.extract_patterns", {"text": "1." * 100_000}),
    ("text.html_to_markdown", {"html": "a" + " " * 199_000 + "b"}),
    ("text.html_to_markdown", {"html": "<a" + " " * 199_000 + "b"}),
    # A third of what its second of computing is enough for.
    ("text.html_to_markdown", {"html": "<p>a</p>" * 8_000}),
    ("text.diff_texts", {"before": LINES, "after": OTHERS}),
    ("text.compare_texts", {"text": "ab" * 10_000, "others": ["ba" * 1_000] * 500}),
    ("data.validate_json", {"value": "a" * 40 + "!", "schema": {"pattern": "(a+)+$"}}),
    ("data.validate_json", {"value": [*range(40_000)], "schema": {"uniqueItems": True}}),
    ("data.diff_json", {"before": [*range(1_900)], "after": [n * 7 % 1_999 for n in range(1_900)]}),
    ("data.describe_table", {"table": "a,b\n" + "1,2\n" * 50_000}),
    ("data.convert_data", {"text": "- 1\n" * 50_000, "source": "yaml", "target": "json"}),
    ("data.match_records", {"left": LONG, "right": LONG, "left_column": "a", "right_column": "a",
                            "least_score": 50}),
    ("data.query_table", {"tables": {"t": [{"a": "x" * 60_000, "b": "x" * 30_000 + "y"}] * 2},
                          "sql": "SELECT instr(a, b) FROM t"}),
    ("data.query_table", {"tables": {"t": [{"a": "x" * 90_000, "b": "a" * 8_000 + "x"}] * 6},
                          "sql": "SELECT trim(a, b) FROM t"}),
    ("maths.number_theory", {"action": "factors", "number": 999999937 * 999999929}),
    ("maths.number_theory", {"action": "next_prime", "number": 10**18}),
    ("maths.matrix", {"action": "inverse", "rows": MATRIX}),
    ("maths.probability", {"distribution": "binomial", "n": 100_000, "x": 100_000}),
    ("maths.finance", {"action": "irr", "payments": [-1000, *[1] * 1_199]}),
    ("dates.next_times", {"rule": "FREQ=HOURLY", "after": "2026-03-01"}),
    ("dates.next_times", {"rule": "FREQ=MONTHLY;INTERVAL=12;BYMONTH=2", "after": "2026-03-01"}),
    ("dates.next_times", {"rule": "FREQ=DAILY;BYDAY=FR;BYMONTHDAY=13",
                          "after": "2026-03-01"}),
]  # fmt: skip


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would go on for minutes is ended after a part of the second that it has."""

    def limit(limit_s: float) -> Any:
        return time_limit(limit_s if is_full() else limit_s / 5)

    for module in (markup, sql, statements):
        monkeypatch.setattr(module, "time_limit", limit)


@pytest.mark.usefixtures("_short")
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
