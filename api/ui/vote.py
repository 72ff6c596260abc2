"""The decision of a vote: what was chosen, how much they agreed, and who said what, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from api.ui.frame import cell, dollars, facts, short, table
from api.ui.markup import Html, tag
from celery_agents.contracts.vote import Decision

Row = Mapping[str, Any]
#: Options, and ballots, that are shown of a vote of many.
_OPTIONS_MAX, _BALLOTS_MAX = 12, 200
#: Characters of a ballot's reason.
_REASON_MAX = 400
_WORDS = {
    "rule": "by the rule",
    "tie_break": "by the tie break",
    "supervisor": "by the supervisor",
    "person": "by a person",
    "none": "by nobody",
}


def is_decision(value: Any) -> bool:
    """Return whether an answer is a vote's: told by its form, since anybody may answer anything."""
    if not isinstance(value, dict) or not {"consensus", "tally", "ballots"} <= value.keys():
        return False
    try:
        Decision.model_validate(value)
    except ValidationError:
        return False
    return True


def decision(value: Row) -> Html:
    """A decision, whole."""
    return tag(
        "section",
        tag("h2", "Decision"),
        tag("div", _ring(value["consensus"]), tag("div", _parts(value)), class_="verdict"),
        tag("p", value["reason"], class_="why") if value.get("reason") else None,
        _options(value["tally"], value.get("option")),
        _ballots(value["ballots"]),
        class_="card",
        id="answer",
    )


def _parts(value: Row) -> Iterator[Html]:
    option = value.get("option")
    yield tag("p", "No decision" if option is None else option, class_="option")
    decided = value.get("decided_by")
    how = _WORDS.get(decided, decided) if isinstance(decided, str) else "—"
    yield tag("p", f"Decided {how}: {value.get('rule') or '—'}.", class_="quiet")
    saved = value.get("saved_cost_usd")
    told = [
        ("Ballots", value.get("samples_used", len(value["ballots"]))),
        ("Never asked", value.get("samples_saved", 0)),
        ("Saved", dollars(saved) if isinstance(saved, int | float) else "—"),
        ("Quorum", f"{value.get('quorum', '—')} {'met' if value.get('quorum_met') else 'not met'}"),
    ]
    if value.get("deadlock"):
        told.append(("Deadlock", value["deadlock"]))
    if value.get("rounds"):
        told.append(("Rounds", value["rounds"]))
    yield facts(*told)


def _ring(consensus: float) -> Html:
    """The consensus as a part of a circle of circumference 100."""
    share = min(max(consensus, 0.0), 1.0) * 100
    about = {"cx": "21", "cy": "21", "r": "15.915"}
    return tag(
        "svg",
        tag("circle", **about, class_="track"),
        tag(
            "circle",
            **about,
            class_="part",
            stroke_dasharray=f"{share:.1f} {100 - share:.1f}",
            transform="rotate(-90 21 21)",
        ),
        tag("text", f"{share:.0f}%", x="21", y="21.5"),
        tag("text", "consensus", x="21", y="26.5", class_="small"),
        viewBox="0 0 42 42",
        class_="ring",
        role="img",
        aria_label=f"consensus {share:.0f} percent",
    )


def _options(tally: Mapping[str, int], chosen: Any) -> Html:
    """How many ballots each option has, the most first."""
    most = max([*tally.values(), 1])
    ranked = sorted(tally.items(), key=lambda item: -item[1])
    rows = [
        tag(
            "li",
            tag("span", option, class_="what"),
            tag(
                "svg",
                tag("rect", width=f"{100 * count / most:.1f}%", height="100%", rx="4"),
                class_="share chosen" if option == chosen else "share",
                aria_hidden="true",
            ),
            tag("span", f"{count:,}", class_="n"),
        )
        for option, count in ranked[:_OPTIONS_MAX]
    ]
    return tag("ol", rows, class_="options")


def _ballots(ballots: Sequence[Row]) -> Html:
    """Ballots, without columns of what none of them has."""
    listed = ballots[:_BALLOTS_MAX]
    sure = any(ballot.get("confidence") is not None for ballot in listed)
    reasoned = any(ballot.get("reason") for ballot in listed)
    rows = [
        tag(
            "tr",
            cell("Voter", tag("b", ballot.get("voter")), class_="main"),
            cell("Said", _voice(ballot)),
            cell("Confidence", _percent(ballot.get("confidence")), class_="n") if sure else None,
            cell("Weight", ballot.get("weight", "1"), class_="n"),
            cell("Reason", _reason(ballot), class_="reason") if reasoned else None,
        )
        for ballot in listed
    ]
    told = ("Confidence", sure), ("Weight", True), ("Reason", reasoned)
    names = ("Voter", "Said", *(name for name, has in told if has))
    left = len(ballots) - len(rows)
    more = tag("p", f"{left:,} more ballots", class_="quiet") if left else None
    return tag("div", table(names, rows, empty="No ballots.", class_="cards"), more)


def _voice(ballot: Row) -> Any:
    if ballot.get("abstained"):
        return tag("span", f"abstained: {ballot['abstained']}", class_="quiet")
    if ballot.get("option") is not None:
        return ballot["option"]
    if ballot.get("ranking"):
        return " > ".join(map(str, ballot["ranking"]))
    return ", ".join(map(str, ballot.get("approvals") or ())) or "—"


def _reason(ballot: Row) -> str:
    """Why a voter said so; of a long one its beginning, so that a page of many stays small."""
    return short(str(ballot.get("reason") or "—"), _REASON_MAX)


def _percent(share: Any) -> str:
    return f"{share:.0%}" if isinstance(share, int | float) else "—"
