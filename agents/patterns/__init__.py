"""Patterns: given the request and the members' answers so far, decide what happens next.

Each ``advance(request, members, …)`` is a pure function. It is asked again whenever the join of
what it wanted fires, and answers with more members to run (Expand) or with its Outcome.
"""
