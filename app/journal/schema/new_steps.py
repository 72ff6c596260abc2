"""The columns of a new step, once: every INSERT of both databases is made of them.

A column that is to be kept of a step from its begin on is a field of
:class:`app.journal.schema.rows.NewStep`, a line in :data:`GIVEN`, and a column of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from app.journal.schema.engine import as_json
from app.journal.schema.rows import NewStep

TEXT, INTEGER, FLOAT = "text", "integer", "double precision"


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a new step brings along, as a :class:`NewStep` has it."""

    name: str
    kind: str = TEXT  # PostgreSQL's, of the value as it is sent
    #: Members have their parent's.
    inherited: bool = False
    #: It is sent as the text of a JSON value.
    is_json: bool = False


GIVEN = (
    Given("id"),
    Given("run_id", inherited=True),
    Given("parent_id"),
    Given("member"),
    Given("position", INTEGER),
    Given("task"),
    Given("agent"),
    Given("queue", inherited=True),
    Given("priority", INTEGER, inherited=True),
    Given("payload", is_json=True),
    Given("envelope", is_json=True),
    Given("max_attempts", INTEGER),
    Given("timeout_s", FLOAT),
    Given("tenant", inherited=True),
    Given("untrusted", "boolean", inherited=True),
)
NAMES = tuple(g.name for g in GIVEN)
INHERITED = tuple(g.name for g in GIVEN if g.inherited)
#: What the members of one step differ in: the rest they have of their parent, or not at all.
OF_MEMBERS = {
    g.name: g.kind for g in GIVEN if not g.inherited and g.name not in {"parent_id", "envelope"}
} | {"state": TEXT}
#: Columns of a root that its run has too.
OF_RUN = ("id", "task", "tenant")
_IS_JSON = frozenset(g.name for g in GIVEN if g.is_json)
_VALUES: Callable[[NewStep], tuple[Any, ...]] = attrgetter(*NAMES)
_PAYLOAD, _ENVELOPE = NAMES.index("payload"), NAMES.index("envelope")
#: What a row begins with beside what it is given, and beside its times.
_BEGINNING: dict[str, Any] = {
    "state": "ready",
    "attempts": 0,
    "token": 0,
    "round": 0,
    "wakes": 0,
    "cancel_requested": False,
    "settled": False,
}


def columns_of(new: Iterable[NewStep], payloads: Iterable[str]) -> list[list[Any]]:
    """The values of each column, with their payloads as JSON text."""
    columns = [list(column) for column in zip(*map(_VALUES, new), strict=True)]
    columns[_PAYLOAD] = list(payloads)
    columns[_ENVELOPE] = [None if e is None else as_json(e) for e in columns[_ENVELOPE]]
    return columns


def row_of(step: NewStep, at: float, wake_grace_s: float) -> dict[str, Any]:
    """The row of a step that is ready to be claimed from ``at`` on."""
    values = dict(zip(NAMES, _VALUES(step), strict=True))
    timeout_s = values.pop("timeout_s")
    return {
        **values,
        **_BEGINNING,
        "deadline_at": None if timeout_s is None else at + timeout_s,
        "ready_at": at,
        "created_at": at,
        "wake_at": at + wake_grace_s,
    }


def words(
    given: Mapping[str, str],
    *,
    at: str,
    wake_grace_s: str,
    cast: bool = False,
    fixed: Mapping[str, str],
) -> dict[str, str]:
    """SQL of each column of a new row.

    Args:
        given: The words for the columns of :data:`GIVEN`; those that are left out are NULL.
        at: The words for the present.
        wake_grace_s: The words for the seconds until recovery may wake the step.
        cast: Whether JSON is sent as text and kept otherwise, as PostgreSQL does.
        fixed: Words for other columns, or for these instead.
    """
    said = {n: f"CAST({w} AS json)" if cast and n in _IS_JSON else w for n, w in given.items()}
    timeout_s = said.pop("timeout_s")
    return {
        **{name: _word(value) for name, value in _BEGINNING.items()},
        **said,
        "deadline_at": f"{at} + {timeout_s}",
        "ready_at": at,
        "created_at": at,
        "wake_at": f"{at} + {wake_grace_s}",
        **fixed,
    }


def _word(value: Any) -> str:
    """A constant in the SQL of both databases."""
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def claimed(at: str) -> dict[str, str]:
    """The words for a step that is claimed as it is made."""
    return {"state": "'running'", "attempts": "1", "token": "1", "started_at": at}


def insert_into_steps(columns: Mapping[str, str]) -> str:
    """``INSERT INTO steps (…) SELECT …``, to be followed by where it reads from."""
    return _insert("steps", columns)


def insert_into_runs(step: Mapping[str, str], *, at: str) -> str:
    """The same for the run that a root begins, of the words for that step's columns.

    A run of its id that is there already is one that is being cleaned up, whose root is gone: the
    table refuses it, and the ordinary way begins it anew (app/journal/steps/remains.py).
    """
    row = {name: step[name] for name in OF_RUN} | {"created_at": at}
    return _insert("runs", {**row, "state": "'open'", "compensable": "false"})


def _insert(table: str, columns: Mapping[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
