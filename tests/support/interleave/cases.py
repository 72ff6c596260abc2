"""Which operations are tried beside one another, and cases that are known to be sharp."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """Operations beside one another in a world, each by shots (quick) or without them."""

    world: str
    deeds: tuple[str, ...]
    quick: tuple[bool, ...]

    def __str__(self) -> str:
        ways = ",".join("quick" if q else "general" for q in self.quick)
        return f"--world {self.world} --deeds '{'|'.join(self.deeds)}' --ways {ways}"

    @classmethod
    def of(cls, world: str, deeds: str, ways: str = "") -> Case:
        """A case by its deeds with | between them; their ways are q or g, quick if not said."""
        names = tuple(deeds.split("|"))
        return cls(world, names, tuple(w == "q" for w in ways or "q" * len(names)))


#: What can be done in each world, by the names of its steps.
DEEDS: dict[str, list[str]] = {
    name: [d.strip() for d in told.split(",")]
    for name, told in {
        "tree": (
            "new k, taken a, early e, lapsed l, spent z, ready c, waiting w, claims l+z+c, "
            "end a, win a, win w/x, win z, ends a+w/x, expand n, timer w, late, postpone a, "
            "hand-back b, stray b, cancel r, cancel w, yes r, no r, requeue d, clean, settle r, "
            "run l, restart l, calls a+b, due e, sweep orphaned, settled-with d+a"
        ),
        "deciding": (
            "win r, end r, next r, postpone r, hand-back r, cancel r, cancel a, cancel w, win a, "
            "end a, undoable b, win w/x, lapsed l, spent z, win z, expand n, timer w, late, "
            "yes r, requeue d, restart l, stray b, taken r, calls a+b"
        ),
        "last-all": (
            "win a, end b, ends a+b, undoable a, waiting r, timer r, late, cancel r, cancel a, "
            "postpone a, hand-back b, taken a, calls a+b, call a, stray a, leave A"
        ),
        "last-first": (
            "win a, end a, win b, end b, ends a+b, undoable a, waiting r, timer r, late, "
            "cancel r, cancel b, postpone b, calls a+b"
        ),
        "last-first-kept": (
            "win a, end a, win b, end b, undoable a, timer r, late, cancel r, postpone b, cancel a"
        ),
        "last-unbroken": (
            "win a, end a, win b, end b, undoable a, waiting r, timer r, late, cancel r, cancel b"
        ),
        "last-decided": (
            "win a, end a, win b, end b, undoable a, waiting r, timer r, late, cancel r, cancel b"
        ),
        "patient-all": "win a, end b, ends a+b, waiting r, late, cancel r, calls a+b, taken a",
        "patient-first": "win a, end b, undoable b, waiting r, cancel r, postpone a",
        "hedged": (
            "ends x+m, end m, win m, win y, undoable y, end y, timer r, late, cancel q, cancel r"
        ),
        "both-late": "ends x+m, end m, win x, late, timer q, timer r, cancel q, cancel r",
        "between": (
            "win r, end r, next r, postpone r, hand-back r, cancel r, cancel b, win b, end b, "
            "undoable b, run l, lapsed l, end l, taken r, stray r, late"
        ),
        "alone": (
            "win s, end s, undoable s, postpone s, hand-back s, stray s, cancel s, taken s, "
            "call s, lapse A, leave A, beat A, expand s, settle s, retake s"
        ),
        "left": (
            "win s, end s, undoable s, postpone s, hand-back s, stray s, cancel s, lapsed s, "
            "run s, restart s, call s, beat L, expand s, sweep orphaned, leave L"
        ),
        "spent": (
            "win s, end s, postpone s, hand-back s, stray s, cancel s, spent s, call s, beat L, "
            "expand s, requeue s, leave L"
        ),
        "pattern-left": "expand r, win r, postpone r, hand-back r, cancel r, lapsed r, beat L",
        "pattern-spent": "expand r, win r, end r, hand-back r, cancel r, spent r, beat L",
        "orphans": (
            "claims s+x+t, claims t+x+y, lapsed s, lapsed x, spent y, win x, win y, win z, "
            "restart t, restart x, restart s, beat L, cancel r, cancel s, run t, call s, end z, "
            "thawed-claims t"
        ),
        "undo-ready": (
            "undo u, undoable b, end b, win b, cancel r, cancel b, lapse B, ready u, postpone b"
        ),
        "undo-running": (
            "undo u, undoable b, end b, win b, cancel b, cancel r, hand-back u, taken u"
        ),
        "undo-waiting": "win u/a, end u/a, undoable b, end b, cancel u, waiting u, cancel b, late",
        "undo-dead": "requeue u, clean, undoable b, end b, cancel b, over u, settle r, settle u",
        "dead": (
            "requeue r, undoable b, end b, win b, cancel b, cancel r, over r, settle r, postpone b"
        ),
        "dead-old": "requeue r, undoable b, end b, clean, over r, settle r, cancel b, postpone b",
        "letters-old": (
            "requeue s, clean, settle t, over s, over t, new k, cancel s, new s, insert s"
        ),
        "half-gone": "new r, insert r, cancel r, clean, requeue u, over a, over u",
        "talking": (
            "say t, end t, hold t, hold x, talk v, talk w, talk x, cancel t, cancel v, cancel x, "
            "postpone t, hand-back t, talk t, lapse A, beat A, forget chat, fork chat, clean, "
            "sweep unwoken, sweep orphaned"
        ),
        "talking-two": (
            "say t, end t, hold x, talk x, cancel t, cancel x, hand-back t, forget chat, fork chat"
        ),
        "team": (
            "ask a, ask b, win a, end b, cancel r, cancel a, cancel b, waiting r, hand-back a, "
            "taken b, calls a+b"
        ),
        "flowing": (
            "go a, win a, end a, signal r, cancel r, cancel a, waiting r, postpone a, hand-back a, "
            "stray a, taken a, lapse A, beat A, late, call a"
        ),
        "sleeping": (
            "take, late, waiting r, go a, win a, end a, signal r, cancel r, cancel a, postpone a, "
            "lapse C, beat A"
        ),
        "resting": (
            "rest r, rest s, rest r+s, mail r+s, mail s, signal r, signal s, cancel r, cancel s, "
            "postpone r, hand-back s, stray s, taken r, lapse A, beat A, late, end s"
        ),
        "nothing": "new k, cancel k, insert k, run k, probe broker",
    }.items()
}

#: Faults that there were, each with cases of which some schedules show it.
SHARP: dict[str, list[Case]] = {
    "given up as its join fires": [
        Case.of("last-all", "ends a+b|timer r"),
        Case.of("last-first", "win a|waiting r", "gg"),
        Case.of("last-unbroken", "end a|waiting r", "gg"),
        Case.of("last-decided", "end a|waiting r"),
        Case.of("patient-all", "ends a+b|waiting r"),
        Case.of("patient-first", "win a|waiting r"),
    ],
    "given up as it is given back": [
        Case.of("alone", "hand-back s|taken s"),
        Case.of("deciding", "hand-back r|taken r"),
    ],
    "given up a moment before it is due": [Case.of("tree", "early e|due e")],
    "given up as it moves on": [
        Case.of("spent", "spent s|win s"),
        Case.of("spent", "spent s|win s", "gg"),
        Case.of("spent", "spent s|hand-back s"),
        Case.of("pattern-spent", "spent r|expand r"),
        Case.of("pattern-spent", "spent r|expand r", "gg"),
    ],
    "a member's end that no round counts": [Case.of("hedged", "ends x+m|win y|timer r", "qgq")],
    "cancelled, and to be tried again in an hour": [Case.of("alone", "postpone s|cancel s")],
    "cleaned while it lives": [
        Case.of("letters-old", "requeue s|clean"),
        Case.of("undo-dead", "requeue u|clean"),
        Case.of("dead-old", "undoable b|clean"),
        Case.of("dead-old", "requeue r|end b|clean"),
    ],
    "asked for again as it is cleaned": [
        Case.of("letters-old", "clean|cancel s"),
        Case.of("half-gone", "clean|new r"),
    ],
    "deadlocks": [
        Case.of("tree", "settled-with d+a|requeue d"),
        Case.of("tree", "claims l+z+c|cancel r"),
        Case.of("tree", "ends a+w/x|cancel r"),
        Case.of("tree", "timer w|cancel r"),
        Case.of("tree", "cancel r|cancel w"),
        Case.of("deciding", "next r|cancel r"),
        Case.of("both-late", "ends x+m|late"),
        Case.of("last-first", "calls a+b|win a", "gg"),
    ],
    "taken from a worker that came meanwhile": [
        Case.of("orphans", "claims s+x+t|win s|restart x", "qgq"),
        Case.of("orphans", "claims s+x+t|cancel s|restart t", "qgq"),
    ],
    "requeued and undone": [Case.of("dead", "requeue r|undoable b")],
    "without a lease": [
        Case.of("orphans", "thawed-claims t|sweep orphaned"),
        Case.of("left", "call s|run s"),
        Case.of("alone", "call s|cancel s|win s"),
    ],
    "a turn that nobody has": [
        Case.of("talking", "end t|hold x"),
        Case.of("talking-two", "say t|hold x"),
        Case.of("talking-two", "end t|talk x"),
        Case.of("talking", "say t|cancel v"),
        Case.of("talking", "cancel v|talk v|say t"),
        Case.of("talking", "end t|talk v|hold x"),
    ],
    "more than a run may ask": [
        Case.of("team", "ask a|ask b"),
        Case.of("team", "ask a|ask b|cancel r"),
        Case.of("team", "ask a|ask b|cancel a"),
    ],
    "a flow that goes on as something comes": [
        Case.of("flowing", "go a|signal r"),
        Case.of("flowing", "go a|cancel r"),
        Case.of("flowing", "go a|go a"),
        Case.of("flowing", "go a|win a"),
        Case.of("flowing", "go a|lapse A"),
        Case.of("flowing", "go a|hand-back a"),
        Case.of("flowing", "go a|signal r|cancel r"),
    ],
    "a flow that is taken as something comes": [
        Case.of("sleeping", "take|take"),
        Case.of("sleeping", "take|late"),
        Case.of("sleeping", "take|waiting r"),
        Case.of("sleeping", "take|win a"),
        Case.of("sleeping", "take|go a"),
        Case.of("sleeping", "take|signal r"),
        Case.of("sleeping", "take|cancel r"),
        Case.of("sleeping", "take|signal r|cancel r"),
        Case.of("sleeping", "take|win a|late"),
    ],
    "many that wait at once as something comes": [
        Case.of("resting", "rest r+s|mail r+s"),
        Case.of("resting", "rest r+s|signal r"),
        Case.of("resting", "rest r+s|signal s|mail r+s"),
        Case.of("resting", "rest r+s|cancel s"),
        Case.of("resting", "rest r+s|hand-back s"),
        Case.of("resting", "rest r+s|end s"),
        Case.of("resting", "rest r+s|mail r+s|mail r+s"),
        Case.of("resting", "rest s|mail r+s|cancel s"),
    ],
    "what a requeue keeps": [Case.of("dead", "requeue r|over r")],
    "answers that are lost": [
        Case.of("tree", "~new k"),
        Case.of("tree", "~lapsed l", "g"),
        Case.of("tree", "~timer w", "g"),
        Case.of("tree", "~yes r"),
        Case.of("tree", "~requeue d"),
        Case.of("dead", "~requeue r"),
        Case.of("dead", "!requeue r"),
        Case.of("tree", "~restart l"),
    ],
    "given back under another claim": [Case.of("alone", "hand-back s|retake s|stray s")],
    "cancelled before it came": [Case.of("nothing", "cancel k|run k")],
    "two answers, two probes": [
        Case.of("tree", "yes r|no r"),
        Case.of("tree", "yes r|timer w"),
        Case.of("nothing", "probe broker|probe broker"),
    ],
}
