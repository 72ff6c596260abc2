"""Patterns: from what was asked and what the members answered so far to what happens next.

Each ``advance(request, members, …)`` is a pure function. It is asked again whenever the join of
what it wanted fires, and answers with more members to run (Expand) or with its Outcome.
"""
