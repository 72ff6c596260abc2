"""The inbox of the demo as it is read, and its result as it is shown: a table, a summary, a line.

Pure functions on plain data; who ran the votes, and how, is not known here.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from celery_agents.errors import PermanentError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_HEADER = "language\tmessage"
# What a message has of them at least, and the name of an agent where there are few.
_MESSAGE_LEAST = 20
_NAME_LEAST = 3
# Characters that turn the writing direction of what follows, so that a message could reorder its
# row.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class InboxError(PermanentError):
    """An inbox file cannot be read: it is missing, empty, not UTF-8, or a line has no language."""

    kind = "inbox"


@dataclass(frozen=True)
class Message:
    """A customer's message, and the language that it is known to be in (ISO 639-1), if any."""

    text: str
    language: str | None = None


@dataclass(frozen=True)
class Row:
    """A message with its vote: agent -> option (None: no answer), and what was decided by whom.

    ``consensus`` is from 0 to 1; ``decided_by`` is ``panel`` or ``supervisor``; ``decision`` is
    None when the vote failed.
    """

    message: Message
    ballots: dict[str, str | None]
    decision: str | None
    consensus: float
    decided_by: str

    @property
    def right(self) -> bool | None:
        """True when the decision is the known language; None when none is known."""
        return None if self.message.language is None else self.decision == self.message.language


@dataclass(frozen=True)
class Work:
    """Effort of the votes: steps that ended, attempts beyond the first, failed ones, seconds."""

    steps: int
    retries: int
    failed: int
    seconds: float
    #: Finished calls that were made once more: nothing should ever be paid for twice.
    made_twice: int = 0

    @property
    def steps_per_s(self) -> float:
        """Steps that ended, per second."""
        return self.steps / self.seconds if self.seconds > 0 else 0.0


def read_inbox(path: Path) -> list[Message]:
    """The messages of a file in UTF-8, in its order, without blank lines.

    A file that starts with the line ``language<TAB>message`` has that form throughout (the
    language may be empty: not known). In any other file each line is a message.

    Raises:
        InboxError: the file cannot be read, is not UTF-8, has no message or a malformed line.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InboxError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InboxError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    # Not splitlines(), which also ends a line at characters that a message may hold.
    lines = [line.strip(" \r") for line in content.split("\n")]
    if lines[0] == _HEADER:
        messages = [_labelled(line, f"{path}, line {n}") for n, line in _filled(lines, first=2)]
    else:
        messages = [Message(line.strip()) for _, line in _filled(lines, first=1)]
    if not messages:
        raise InboxError(f"{path} has no messages; write one to a line")
    return messages


def _filled(lines: Sequence[str], *, first: int) -> Iterable[tuple[int, str]]:
    """The lines with something in them from the ``first`` on, numbered as in the file."""
    return ((n, line) for n, line in enumerate(lines[first - 1 :], first) if line.strip())


def _labelled(line: str, place: str) -> Message:
    language, tab, text = line.partition("\t")
    if not tab or not text.strip():
        raise InboxError(f"{place}: expected a language, a tab and a message")
    return Message(text.strip(), language.strip().lower() or None)


def accuracies(rows: Sequence[Row]) -> dict[str, float | None]:
    """Each agent's share (0 to 1) of right ballots among messages of known language.

    A missing ballot is a wrong one. None where no language is known.
    """
    known = [row for row in rows if row.message.language is not None]
    return {
        agent: _share(row.ballots.get(agent) == row.message.language for row in known)
        for agent in _agents(rows)
    }


def panel_accuracy(rows: Sequence[Row]) -> float | None:
    """The share (0 to 1) of right decisions among messages of known language, if there are any."""
    return _share(row.right for row in rows if row.right is not None)


def _agents(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(agent for row in rows for agent in row.ballots))


def _share(hits: Iterable[bool]) -> float | None:
    found = list(hits)
    return sum(found) / len(found) if found else None


def summary_json(rows: Sequence[Row], work: Work) -> str:
    """The whole run as one JSON line."""

    def rounded(share: float | None) -> float | None:
        return None if share is None else round(share, 4)

    return json.dumps(
        {
            "messages": len(rows),
            "agents": {agent: rounded(share) for agent, share in accuracies(rows).items()},
            "panel": rounded(panel_accuracy(rows)),
            "steps": work.steps,
            "retries": work.retries,
            "steps_per_s": round(work.steps_per_s, 1),
            "failed": work.failed,
        }
    )


def votes_table(rows: Sequence[Row], width: int) -> Table:
    """Each message with its decision, the ballots and the consensus, for a screen so wide.

    The decision stands first: its Latin letters make every row a left-to-right one, also where
    the message is Arabic or Hebrew. Where columns are few, names of agents are cut.
    """
    from rich import box
    from rich.table import Table

    agents = _agents(rows)
    name, room = _widths(agents, width)
    labelled = any(row.right is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("Is", no_wrap=True)
    if labelled:
        table.add_column("", no_wrap=True)
    table.add_column("Message", no_wrap=True, overflow="ellipsis", max_width=room)
    for agent in agents:
        table.add_column(agent, no_wrap=True, overflow="ellipsis", max_width=name)
    table.add_column("Agree", justify="right", no_wrap=True)
    table.add_column("By", no_wrap=True)
    for row in rows:
        cells = [_styled(row.decision or "?", "bold"), *([_mark(row)] if labelled else [])]
        cells.append(_styled(_printable(row.message.text)))
        cells += [_ballot(row.ballots.get(agent), row.decision) for agent in agents]
        cells += [_styled(f"{row.consensus:.0%}"), _by(row)]
        table.add_row(*cells)
    return table


def summary_table(rows: Sequence[Row], work: Work) -> Table:
    """How often each agent alone and the panel were right, and what it took."""
    from rich import box
    from rich.table import Table

    supervised = sum(row.decided_by == "supervisor" for row in rows)
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for agent, share in accuracies(rows).items():
        table.add_row(f"{agent} alone", _percent(share))
    table.add_row("panel", _styled(_percent(panel_accuracy(rows)), "bold"), end_section=True)
    for name, count in (
        ("messages", len(rows)),
        ("decided by the supervisor", supervised),
        ("steps", work.steps),
        ("retries", work.retries),
        ("finished calls made twice", work.made_twice),
        ("failed", work.failed),
    ):
        table.add_row(name, str(count))
    table.add_row("steps/s", f"{work.steps_per_s:.1f}")
    return table


def _widths(agents: Sequence[str], width: int) -> tuple[int, int]:
    """Columns for the name of an agent and for a message, so that the table fits if it can."""
    longest = max(map(len, agents), default=_NAME_LEAST)
    for name in range(longest, _NAME_LEAST - 1, -1):
        room = _room([min(len(agent), name) for agent in agents], width)
        if room >= _MESSAGE_LEAST:
            return name, room
    return _NAME_LEAST, _MESSAGE_LEAST


def _room(names: Sequence[int], width: int) -> int:
    """Columns that are left for a message beside the others and the gaps between them."""
    others = [len("und"), len("✗ und"), *names, len("Agree"), len("supervisor")]
    gap = 2
    return width - gap - sum(column + gap for column in others)


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{share:.1%}"


def _mark(row: Row) -> Text:
    """Right, or wrong with the language that it is."""
    if row.right is None:
        return _styled("")
    return _styled("✓", "green") if row.right else _styled(f"✗ {row.message.language}", "red")


def _by(row: Row) -> Text:
    return _styled(row.decided_by, "cyan" if row.decided_by == "supervisor" else "")


def _ballot(option: str | None, decision: str | None) -> Text:
    return _styled(option or "–", "" if option == decision else "yellow")  # noqa: RUF001 - a dash


def _styled(text: str, style: str = "") -> Text:
    # Text, not str: what stands in a message is no markup.
    from rich.text import Text

    return Text(text, style=style)


def _printable(text: str) -> str:
    """The text without what would move a terminal's cursor or turn its writing direction."""
    return "".join(
        " " if unicodedata.category(character) == "Cc" else character
        for character in text
        if character not in _TURNING
    )
