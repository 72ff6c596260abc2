"""Each built-in tool works as its example says."""

from __future__ import annotations

from typing import Any

import pytest

from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.offer import made, offer_of
from tests.unit.agents.toolsets.builtin.support import MAIL, called, example
from tests.unit.celery_agents.client.test_shell import has

#: What each example gives, or a part of it.
GIVES: dict[str, Any] = {
    "text.count_text": {"characters": 28, "words": 5, "sentences": 2, "lines": 1},
    "text.split_text": ["One. Two.", "Two. Three."],
    "text.find_text": {"lines_found": 2, "shown": [{"line": 1, "text": "a cat"}, {"line": 3}]},
    "text.extract_patterns": {"emails": ["ann@example.com"], "dates": ["2026-05-04"]},
    "text.compare_texts": [{"text": "colour", "index": 0}, {"text": "collar"}, {"score": 0.0}],
    "text.hash_text": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "text.replace_text": {"text": "a bat", "replaced": 1},
    "text.diff_texts": "--- before\n+++ after\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
    "text.patch_text": "a\nc\n",
    "text.html_to_markdown": "# Title\n\nA **bold** word.",
    "text.transform_text": "creme-brulee",
    "text.encode_text": "aMOp",
    "data.query_json": ["y"],
    "data.validate_json": {
        "valid": False,
        "problems": [
            {"path": "$.a"},
            {"path": "$.b"},
            {"path": "$", "problem": "'c' is a required property"},
        ],
    },
    "data.repair_json": {"a": 1, "b": [1, 2]},
    "data.patch_json": {"b": [1, 2]},
    "data.diff_json": [{"op": "replace", "path": "/b", "value": 3}],
    "data.convert_data": '{\n  "a": 1,\n  "b": [\n    "x",\n    "y"\n  ]\n}',
    "data.describe_table": {"rows": 3, "columns": {"age": {"nulls": 1, "least": 29, "mean": 30}}},
    "data.match_records": {
        "matched": [{"right": {"person": "John Smith", "id": 7}, "score": 94.7}],
        "unmatched": [{"name": "Ann"}],
    },
    "data.dedupe_records": {
        "rows": [{"mail": "a@x", "plan": "pro"}, {"mail": "b@x", "plan": "pro"}],
        "removed": 1,
    },
    "data.sample_records": [{"kind": "a"}, {"kind": "b"}],
    "data.query_table": {"columns": ["city", "cents"], "rows": [["Oslo", 7], ["Rom", 9]]},
    "data.inspect_sql": [
        {"kind": "delete", "reads_only": False, "tables": ["old", "users"], "writes_to": ["users"]}
    ],
    "files.list_files": {"entries": ["docs/a.txt 12", f"docs/mail.eml {len(MAIL)}"], "more": False},
    "files.find_files": {"files": [{"path": "docs/a.txt", "bytes": 12}], "more": False},
    "files.search_files": {"hits": [{"path": "docs/a.txt", "line": 1, "text": "a cat"}]},
    "files.read_file": {"text": "a cat\na dog\n", "lines": "1-2 of 2", "encoding": "utf-8"},
    "files.file_info": {"kind": "file", "bytes": 12, "type": "text/plain"},
    "files.read_document": {
        "text": "From: ann@example.com\nSubject: A plan\n\nSee you.\n",
        "pages": 1,
    },
    "files.write_file": {"path": "new/b.txt", "changed": True},
    "files.edit_file": {"path": "docs/a.txt", "changed": True},
    "files.apply_patch": {"docs/a.txt": "changed"},
    "files.move_file": {"path": "old/a.txt"},
    "files.delete_file": {"trash": ".trash/key/a.txt"},
    "files.archive_files": {"path": "docs.zip", "files": 2},
    "web.fetch_page": {"title": "A page", "date": "2026-05-04"},
    "web.get_json": [1, 2],
    "web.http_request": {"status": 200, "body": {"method": "POST", "body": '{"a": 1}'}},
    "web.download_file": {"path": "in/file.txt", "bytes": 6, "type": "text/plain"},
    "web.select_html": ["one"],
    "web.extract_links": {
        "inner": [{"url": "https://a.org/b", "text": "B"}],
        "outer": [{"url": "https://x.org/", "text": "X"}],
    },
    "web.read_feed": {
        "title": "News",
        "entries": [{"title": "One", "link": "https://x.org/1", "summary": " Bold  news"}],
    },
    "web.read_sitemap": {"kind": "urls", "found": 2},
    "web.check_robots": {"allowed": False, "crawl_delay_s": 2.0},
    "web.check_url": {"status": 200, "redirects": [], "type": "text/plain", "bytes": 6},
    "web.parse_url": {"url": "https://example.com/b?x=1&y=2+3#top", "port": 443, "path": "/b"},
    "web.web_search": [{"title": "T", "url": "https://x.org/", "text": "C", "date": "2026"}],
    "maths.calculate": {"value": "1.9", "exact": True, "fraction": "19/10"},
    "maths.statistics": {"mean": 4.0, "correlation": 1.0, "trend": {"slope": 2.0}},
    "maths.convert_units": {"value": "8.04672", "unit": "km"},
    "maths.find_root": {"x": 1.4142135623730951, "sign_changes": 1},
    "maths.random_values": [5, 3, 4],
    "maths.geo_distance": {"km": 504.339, "bearing_deg": 195.63},
    "maths.solve_linear": {"solutions": "one", "x": ["2", "1"]},
    "maths.matrix": [["-2", "1"], ["1.5", "-0.5"]],
    "maths.number_theory": {"2": 3, "3": 2, "5": 1},
    "maths.convert_number": "1,234.5",
    "maths.probability": {},
    "maths.finance": {"amount": "112.83"},
    "dates.now": {"zone": "Europe/Berlin"},
    "dates.parse_date": {"iso": "2026-05-04T10:30:00", "weekday": "Monday", "week": "2026-W19"},
    "dates.format_date": "Monday, 04 May 2026",
    "dates.describe_date": {"holiday": "Christmas Day", "business_day": False},
    "dates.date_difference": {"calendar": {"days": 28}, "days": 28, "business_days": 18},
    "dates.convert_timezone": {"to": "2026-05-04T17:00:00+09:00"},
    "dates.add_to_date": {"iso": "2026-02-28", "weekday": "Saturday"},
    "dates.parse_duration": {"iso": "PT1H30M", "words": "1 hour 30 minutes", "seconds": 5400.0},
    "dates.list_holidays": [{"date": "2026-01-01", "weekday": "Thursday"}],
    "dates.next_times": ["2026-05-11T09:00:00+02:00", "2026-05-18T09:00:00+02:00"],
    "dates.find_free_time": {"first": {"start": "2026-05-04T08:00:00+00:00"}},
    "dates.wait_until": {"reached": "2024-05-04T10:00:00+02:00", "weekday": "Saturday"},
}

#: Other arguments, each with what it gives.
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("text.encode_text", {"text": "aMOp", "scheme": "base64", "decode": True}, "hé"),
    ("text.encode_text", {"text": "a%20b", "scheme": "url", "decode": True}, "a b"),
    ("text.encode_text", {"text": "<a>", "scheme": "html"}, "&lt;a&gt;"),
    ("text.hash_text", {"text": "abc", "algorithm": "crc32"}, "352441c2"),
    ("text.transform_text", {"text": "  a  \n b", "change": "squeeze"}, "a b"),
    ("text.replace_text", {"text": "a.a", "pattern": ".", "replacement": r"\1"}, {"text": r"a\1a"}),
    ("text.replace_text", {"text": "aaa", "pattern": "a", "replacement": "b", "most": 2},
     {"text": "bba", "replaced": 2}),
    ("text.extract_patterns",
     {"text": "DE89370400440532013000, DE89370400440532013001", "kinds": ["ibans"]},
     {"ibans": ["DE89370400440532013000"]}),
    ("text.extract_patterns", {"text": "from -5 to 1,250.5 €7", "kinds": ["numbers"]},
     {"numbers": ["-5", "1,250.5", "7"]}),
    ("text.split_text", {"text": "", "by": "words"}, []),
    ("data.query_json", {"value": [{"a": 2}, {"a": 1}], "expression": "sort_by(@, &a)[0].a"}, 1),
    ("data.query_json", {"value": {}, "expression": "a"}, None),
    ("data.validate_json", {"value": {"x": [1, 1.0]}, "schema": {
        "additionalProperties": {"uniqueItems": True}}},
     {"problems": [{"path": "$.x", "problem": "has elements that are the same"}]}),
    ("data.validate_json", {"value": {"aa": 1, "b": 2}, "schema": {
        "patternProperties": {"^a+$": {"type": "string"}}, "additionalProperties": False}},
     {"problems": [{"path": "$.aa"}, {"problem": "'b' is not allowed here"}]}),
    ("data.validate_json", {"value": 1, "schema": {"$ref": "#/$defs/n", "$defs": {
        "n": {"type": "integer"}}}}, {"valid": True}),
    ("data.repair_json", {"text": "[1, 2]"}, [1, 2]),
    ("data.patch_json", {"value": {"a": 1, "b": 2}, "merge": {"a": None, "c": {"d": 1}}},
     {"b": 2, "c": {"d": 1}}),
    ("data.convert_data", {"text": "a;b\n1;007\n", "source": "csv", "target": "json"},
     '[\n  {\n    "a": 1,\n    "b": "007"\n  }\n]'),
    ("data.convert_data", {"text": '{"z": 1, "a": {"b c": [true, {"x": "y"}]}}',
                           "source": "json", "target": "toml"},
     'z = 1\n\n[a]\n"b c" = [true, {x = "y"}]\n'),
    ("data.convert_data", {"text": '<r id="1"><a>x</a><a>y</a></r>', "source": "xml",
                           "target": "yaml"},
     "r:\n  '@id': '1'\n  a:\n  - x\n  - y\n"),
    ("data.convert_data", {"text": '{"r": {"@id": "1", "a": ["x", null]}}', "source": "json",
                           "target": "xml"}, '<r id="1">\n  <a>x</a>\n  <a />\n</r>\n'),
    ("data.convert_data", {"text": "[t]\nd = 2026-05-04\n", "source": "toml", "target": "yaml"},
     "t:\n  d: '2026-05-04'\n"),
    ("data.convert_data", {"text": '[{"a": 1}, {"b": "x,y"}]', "source": "json", "target": "csv"},
     'a,b\n1,\n,"x,y"\n'),
    ("data.match_records", {"left": "a\nx\ny\n", "right": "b\nx\nx\n", "left_column": "a",
                            "right_column": "b"}, {"unmatched": [{"a": "y"}]}),
    ("data.dedupe_records", {"table": "a,b\nX,\nx,1\n", "columns": ["a"], "ignore_case": True,
                             "keep": "fullest"}, {"rows": [{"a": "x", "b": 1}], "removed": 1}),
    ("data.query_table", {"tables": {"t": [{"a": {"b": [1, 2]}}]},
                          "sql": "SELECT a ->> '$.b[1]' AS x FROM t"}, {"rows": [[2]]}),
    ("data.query_table", {"tables": {"t": "a\n1\n2\n"}, "sql": "SELECT a FROM t", "most": 1},
     {"rows": [[1]], "more": True}),
    ("data.inspect_sql", {"sql": "SELECT a.b FROM s.t"},
     [{"kind": "select", "reads_only": True, "tables": ["s.t"], "writes_to": []}]),
    ("data.inspect_sql", {"sql": "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
                          "dialect": "postgres"},
     [{"kind": "select", "reads_only": False, "writes_to": ["t"]}]),
    ("data.inspect_sql", {"sql": "SELECT * INTO n FROM o", "dialect": "tsql"},
     [{"reads_only": False, "writes_to": ["n"]}]),
    ("data.inspect_sql", {"sql": "VACUUM"}, [{"kind": "unknown", "reads_only": False}]),
    ("maths.calculate", {"expression": "1/3 + 1/6"}, {"value": "0.5", "fraction": "1/2"}),
    ("maths.calculate", {"expression": "sqrt(2)"}, {"value": "1.4142135623731", "exact": False}),
    ("maths.calculate", {"expression": "2 ^ 100"}, {"value": str(2**100)}),
    ("maths.calculate", {"expression": "0.1 + 0.2"}, {"value": "0.3"}),
    ("maths.calculate", {"expression": "1 / 3"}, {"value": "0.333333333333333"}),
    ("maths.convert_units", {"value": "20", "unit": "degC", "to": "degF"}, {"value": "68"}),
    ("maths.convert_units", {"value": "36", "unit": "km/h", "to": "m/s"}, {"value": "10"}),
    ("maths.convert_number", {"number": "MMXXVI", "to": "decimal"}, "2026"),
    ("maths.convert_number", {"number": "ff", "base": 16, "to": "binary"}, "0b11111111"),
    ("maths.convert_number", {"number": "-1042", "to": "words"},
     "minus one thousand forty-two"),
    ("maths.number_theory", {"action": "factors", "number": 999999999999999989},
     {"999999999999999989": 1}),
    ("maths.number_theory", {"action": "factors", "number": 1000000007 * 998244353},
     {"998244353": 1, "1000000007": 1}),
    ("maths.number_theory", {"action": "modpow", "number": 3, "other": 200, "modulus": 13}, 9),
    ("maths.matrix", {"action": "determinant", "rows": [[0, 1], [1, 0]]}, "-1"),
    ("maths.matrix", {"action": "product", "rows": [["1/3"]], "other": [[3]]}, [["1"]]),
    ("maths.solve_linear", {"equations": [[1, 1], [2, 2]], "right": [1, 3]}, {"solutions": "none"}),
    ("maths.solve_linear", {"equations": [[1, 1], [2, 2]], "right": [1, 2]}, {"free": 1}),
    ("maths.finance", {"action": "irr", "payments": [-100, 110]}, {"rate": "0.1000000000"}),
    ("maths.finance", {"action": "npv", "rate": 0.1, "payments": [-100, 110]}, {"amount": "0.00"}),
    ("maths.probability", {"distribution": "combinations", "n": 49, "x": 6}, {"count": "13983816"}),
    ("dates.parse_date", {"text": "04/05/2026", "order": "day"}, {"iso": "2026-05-04"}),
    ("dates.parse_date", {"text": "2026-05-04"}, {"iso": "2026-05-04"}),
    ("dates.add_to_date", {"date": "2026-05-04", "business_days": 5}, {"iso": "2026-05-11"}),
    ("dates.add_to_date", {"date": "2026-12-24", "business_days": 1, "country": "DE"},
     {"iso": "2026-12-28"}),
    ("dates.add_to_date", {"date": "2026-05-04", "duration": "-P1W"}, {"iso": "2026-04-27"}),
    ("dates.convert_timezone",
     {"time": "2026-03-29T02:30", "from_zone": "Europe/Berlin", "to_zone": "UTC"},
     {"warning": "This local time is left out by the clock."}),
    ("dates.convert_timezone",
     {"time": "2026-10-25T02:30", "from_zone": "Europe/Berlin", "to_zone": "UTC"},
     {"warning": "This local time comes twice; the first is meant."}),
    ("dates.next_times", {"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=2", "after": "2026-05-04T09:00"},
     ["2026-05-04T09:00:00+00:00", "2026-05-11T09:00:00+00:00"]),
    ("dates.next_times", {"rule": "RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9",
                          "after": "2026-05-04T00:00"},
     ["2026-05-29T09:00:00+00:00"]),
    ("dates.parse_duration", {"text": "P1Y2M"}, {"words": "1 year 2 months"}),
]  # fmt: skip


def test_each_tool_has_an_example_and_something_that_it_gives() -> None:
    assert [*functions()] == [*GIVES]


@pytest.mark.parametrize("name", GIVES)
def test_examples(name: str) -> None:
    _holds(example(name), GIVES[name])


@pytest.mark.parametrize(("name", "arguments", "gives"), CASES)
def test_cases(name: str, arguments: dict[str, Any], gives: Any) -> None:
    _holds(called(name, **arguments), gives)


def _holds(found: Any, gives: Any) -> None:
    begins = found[: max(1, len(gives))] if isinstance(gives, list) else found
    assert has(begins, gives), found


@pytest.mark.parametrize("name", functions())
def test_what_models_are_told_is_short(name: str) -> None:
    tool = made(functions()[name])
    assert len(tool.description.splitlines()) <= 3
    properties: Any = tool.parameters["properties"]
    assert len(properties) <= 6
    assert tool.effects != "effect" or tool.policy.approve == "ask"
    assert offer_of(functions()[name]).example.keys() <= properties.keys()


def test_a_retry_draws_the_same_values() -> None:
    sample = {"table": [{"n": n} for n in range(99)], "count": 9}
    assert called("data.sample_records", **sample) == called("data.sample_records", **sample)
    drawn = {"kind": "floats", "count": 5}
    assert called("maths.random_values", **drawn) == called("maths.random_values", **drawn)
