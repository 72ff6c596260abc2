"""A text that comes in pieces, and of it what may be told: in the end what comes of the whole."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence

from agents.guarding.finding import Finding, merged
from agents.guarding.plain import unseen

#: Of a finding behind which nothing is told.
STOP = "\0stop"
#: Characters before a place that say what stands there: words before a number, a URL's begin.
_BACK, _LEAST = 256, 208
#: Characters of an escape of JSON, which stand for one.
_ESCAPE = 6
#: A place between two letters: no finding is changed by what stands before it.
_LETTERS = re.compile(r"[^\W\d_][^\W\d_]")
#: Of a text that has to be held as a whole, the part that is to come before it is looked at again.
_SHARE = 4
_SHORT = 1_024


class HeldText:
    """Takes a text piece by piece and gives what is made of it as soon as nothing can change that.

    Args:
        look: finds what is not to be told as it stands, and ``STOP``, in a text that has such
            joints; by findings that depend on what stands near them alone.
        opened: from where on findings may come, or change, by what follows.
        by: what is told in place of one.
    """

    def __init__(
        self,
        look: Callable[[str, Sequence[int]], Sequence[Finding]],
        opened: Callable[[str, Sequence[int]], int],
        by: Callable[[str, str], str],
    ) -> None:
        self._look, self._opened, self._by = look, opened, by
        self._joints: list[int] = []  # where a text ended and another one begins
        self._raw = ""  # with what stood before that
        self._given = 0  # characters of it
        self._new = 0  # characters that nobody has looked at
        #: Whether nothing more is told.
        self.stopped = False

    def add(self, piece: str) -> str:
        """Add a piece; return what may be told now."""
        if self.stopped:
            return ""
        self._raw += piece
        self._new += len(piece)
        if self._new * _SHARE < len(self._raw) - _SHORT:  # else the time would grow by the square
            return ""
        return self._add()

    def part(self) -> str:
        """End a part, as before a tool is called; return what may be told now.

        The next one may go on in the same word: whoever watches reads both as one text, or as two.
        What stands in either is not told.
        """
        told = "" if self.stopped or not self._raw else self._add()
        if self._raw:
            self._joints.append(len(self._raw))
        return told

    def _add(self) -> str:
        told = self._told(max(self._given, self._opened(self._raw, self._joints)))
        self._let_go()
        return told

    def end(self) -> str:
        """Return the rest. What comes then is another text."""
        told = "" if self.stopped or not self._raw else self._told(len(self._raw))
        self._raw, self._given, self._new, self._joints = "", 0, 0, []
        return told

    def _told(self, until: int) -> str:
        self._new = 0
        found = [f for f in self._look(self._raw, self._joints) if f.start >= self._given]
        stops = sorted(one.start for one in found if one.kind == STOP)
        parts, at = [], self._given
        for one in merged(found):
            if one.start >= until:
                break
            parts.append(self._raw[at : one.start])
            at = one.start
            stop = bisect_left(stops, one.start)  # each stands within one
            if stop < len(stops) and stops[stop] < one.end:
                self.stopped, until = True, at
                break
            if one.end > until:  # another one may yet overlap it
                until = at
                break
            parts.append(self._by(one.kind, self._raw[one.start : one.end]))
            at = one.end
        parts.append(self._raw[at:until])
        self._given = max(at, until)
        return "".join(parts)

    def _let_go(self) -> None:
        """Drop what nothing depends on any more."""
        if self._given < 2 * _BACK:
            return
        match = _LETTERS.search(self._raw, self._given - 2 * _BACK, self._given - _BACK)
        if match is None:
            return
        place = match.start() + 1
        kept = self._raw[place : self._given]
        if len(kept) - _ESCAPE * kept.count("\\") >= _LEAST and not any(map(unseen, kept)):
            self._raw, self._given = self._raw[place:], self._given - place
            self._joints = [at - place for at in self._joints if at > place]
