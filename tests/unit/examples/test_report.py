from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from celery_agents.errors import AgentsError
from examples.triage.report import (
    InboxError,
    Message,
    Row,
    Work,
    accuracies,
    panel_accuracy,
    read_inbox,
    summary_json,
    summary_table,
    votes_table,
)

LONG = ["long " * 40, "我的包裹在哪里。" * 9, "أين طلبي؟ " * 9, "पासवर्ड काम नहीं " * 9, "พัสดุ" * 30]
VOTERS: dict[str, str | None] = dict.fromkeys(["eld", "py3langid", "fasttext", "langdetect"], "en")
WORK = Work(steps=12, retries=3, failed=0, seconds=1.5)


def row(
    text: str = "Where is my order?",
    language: str | None = "en",
    *,
    ballots: dict[str, str | None] | None = None,
    decision: str | None = "en",
    decided_by: str = "panel",
) -> Row:
    default: dict[str, str | None] = {"eld": "en", "fasttext": "de"}
    cast = default if ballots is None else ballots
    return Row(Message(text, language), cast, decision, 0.5, decided_by)


def shown(table: Table, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, legacy_windows=False).print(table)
    return out.getvalue()


class TestReadInbox:
    def read(self, tmp_path: Path, content: bytes) -> list[Message]:
        path = tmp_path / "inbox"
        path.write_bytes(content)
        return read_inbox(path)

    @pytest.mark.parametrize(
        ("content", "messages"),
        [
            ("language\tmessage\nen\tHello\nfr\tSalut\n", [("Hello", "en"), ("Salut", "fr")]),
            (
                "language\tmessage\r\nEN\tHello\r\n\r\n\tWhat?\r\n",
                [("Hello", "en"), ("What?", None)],
            ),
            ("\ufefflanguage\tmessage\nen\tHello", [("Hello", "en")]),
            ("language\tmessage\nen\ta\tb\n", [("a\tb", "en")]),
            ("Hello\n\n  Salut  \r\n", [("Hello", None), ("Salut", None)]),
            ("en\tHello\n", [("en\tHello", None)]),
            ("one\u2028line\n", [("one\u2028line", None)]),
            ("same\nsame\n", [("same", None), ("same", None)]),
        ],
    )
    def test_forms(
        self, tmp_path: Path, content: str, messages: list[tuple[str, str | None]]
    ) -> None:
        assert self.read(tmp_path, content.encode()) == [Message(*m) for m in messages]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "no messages"),
            (b" \n\r\n", "no messages"),
            (b"language\tmessage\n", "no messages"),
            ("grüße".encode("latin-1"), r"not UTF-8 \(byte 2\)"),
            ("hello".encode("utf-16"), "not UTF-8"),
            (b"language\tmessage\nen\tHello\nSalut\n", "line 3: expected a language"),
            (b"language\tmessage\n\nen\t \n", "line 3: expected a language"),
        ],
    )
    def test_what_cannot_be_read_is_one_clear_error(
        self, tmp_path: Path, content: bytes, says: str
    ) -> None:
        with pytest.raises(InboxError, match=says) as caught:
            self.read(tmp_path, content)
        assert "inbox" in str(caught.value)

    def test_missing_file_and_directory(self, tmp_path: Path) -> None:
        with pytest.raises(AgentsError, match="No such file"):
            read_inbox(tmp_path / "nowhere")
        with pytest.raises(AgentsError, match="cannot read"):
            read_inbox(tmp_path)


class TestAccuracy:
    def test_missing_ballots_and_decisions_are_wrong(self) -> None:
        rows = [
            row(),
            row(ballots={"eld": None, "fasttext": "en"}, decision=None),
            row(ballots={"fasttext": "en"}),
            row(language="de", ballots={"eld": "de", "fasttext": "de"}, decision="en"),
        ]
        assert accuracies(rows) == {"eld": 0.5, "fasttext": 0.75}
        assert panel_accuracy(rows) == 0.5

    def test_messages_of_unknown_language_do_not_count(self) -> None:
        rows = [row(), row(language=None, decision="xx")]
        assert panel_accuracy(rows) == 1.0
        assert accuracies(rows) == {"eld": 1.0, "fasttext": 0.0}

    def test_without_labels_nothing_is_known(self) -> None:
        assert accuracies([row(language=None)]) == {"eld": None, "fasttext": None}
        assert panel_accuracy([row(language=None)]) is None

    @given(st.lists(st.tuples(st.sampled_from(["en", "de"]), st.sampled_from(["en", "de", None]))))
    def test_a_panel_of_one_is_as_accurate_as_its_agent(
        self, answers: list[tuple[str, str | None]]
    ) -> None:
        rows = [row(language=label, ballots={"a": one}, decision=one) for label, one in answers]
        assert accuracies(rows).get("a") == panel_accuracy(rows)


class TestSummaryJson:
    def test_it_is_the_promised_line(self) -> None:
        rows = [row(), row(decision="de"), row(ballots={"eld": "fr", "fasttext": "en"})]
        line = summary_json(rows, WORK)
        assert "\n" not in line
        assert json.loads(line) == {
            "messages": 3,
            "agents": {"eld": 0.6667, "fasttext": 0.3333},
            "panel": 0.6667,
            "steps": 12,
            "retries": 3,
            "steps_per_s": 8.0,
            "failed": 0,
        }
        assert list(json.loads(line))[:3] == ["messages", "agents", "panel"]

    def test_without_labels_accuracies_are_null(self) -> None:
        summary = json.loads(summary_json([row(language=None)], WORK))
        assert summary["agents"] == {"eld": None, "fasttext": None}
        assert summary["panel"] is None

    def test_no_time_is_no_speed(self) -> None:
        summary = json.loads(summary_json([], Work(0, 0, 0, 0.0)))
        assert (summary["messages"], summary["steps_per_s"]) == (0, 0.0)


class TestVotesTable:
    def test_a_row_says_all(self) -> None:
        text = shown(votes_table([row(decision="de", decided_by="supervisor")], 100))
        last = " ".join(text.strip().splitlines()[-1].split())
        assert last == "de ✗ en Where is my order? en de 50% supervisor"

    def test_right_and_unknown(self) -> None:
        assert "✓" in shown(votes_table([row()], 100))
        unlabelled = shown(votes_table([row(language=None)], 100))
        assert "✓" not in unlabelled
        assert "✗" not in unlabelled

    def test_no_answer_and_no_decision(self) -> None:
        text = shown(
            votes_table([row(ballots={"eld": None, "fasttext": "de"}, decision=None)], 100)
        )
        assert text.strip().splitlines()[-1].split()[0] == "?"
        assert "–" in text  # noqa: RUF001 - the dash that stands for no answer

    def test_markup_and_control_characters_of_a_message_do_nothing(self) -> None:
        text = shown(votes_table([row("[red]hi[/red] \x1b[2J\u202eolleh")], 100))
        assert "[red]hi[/red]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text

    @pytest.mark.parametrize("message", LONG)
    def test_every_line_fits_100_columns_and_nothing_but_messages_is_cut(
        self, message: str
    ) -> None:
        rows = [row(message, ballots=VOTERS, decided_by="supervisor"), row(ballots=VOTERS)]
        lines = shown(votes_table(rows, 100)).splitlines()
        assert max(cell_len(line.rstrip()) for line in lines) <= 100
        assert sum(line.count("…") for line in lines) == 1
        for name in [*VOTERS, "supervisor"]:
            assert any(name in line for line in lines)

    @pytest.mark.parametrize("width", [76, 80, 90, 120])
    @pytest.mark.parametrize("message", LONG)
    def test_decision_ballots_and_who_decided_are_seen_at_any_width(
        self, message: str, width: int
    ) -> None:
        votes: dict[str, str | None] = dict(zip(VOTERS, ["und", "en", "de", "fr"], strict=True))
        rows = [
            row(message, "de", ballots=votes, decision="und", decided_by="supervisor"),
            row(ballots=VOTERS),
        ]
        lines = shown(votes_table(rows, width), width).strip().splitlines()
        assert max(cell_len(line.rstrip()) for line in lines) <= width
        assert lines[0].split()[:2] == ["Is", "Message"]
        assert lines[0].split()[-2:] == ["Agree", "By"]
        first = lines[2].split()
        assert first[:3] == ["und", "✗", "de"]
        assert first[-6:] == ["und", "en", "de", "fr", "50%", "supervisor"]
        assert len(lines) == 4  # nothing is wrapped

    def test_names_are_cut_before_messages_are(self) -> None:
        heads = shown(votes_table([row(LONG[0], ballots=VOTERS)], 80), 80).strip().splitlines()[0]
        assert heads.split() == ["Is", "Message", "eld", "py3l…", "fast…", "lang…", "Agree", "By"]


class TestSummaryTable:
    def test_what_it_says(self) -> None:
        rows = [row(), row(decision="de", decided_by="supervisor")]
        lines = shown(summary_table(rows, WORK)).splitlines()
        said = {
            line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in lines if line.strip()
        }
        assert said == {
            "eld alone": "100.0%",
            "fasttext alone": "0.0%",
            "panel": "50.0%",
            "messages": "2",
            "decided by the supervisor": "1",
            "steps": "12",
            "retries": "3",
            "finished calls made twice": "0",
            "failed": "0",
            "steps/s": "8.0",
        }

    def test_without_labels(self) -> None:
        assert shown(summary_table([row(language=None)], WORK)).count("not known") == 3
