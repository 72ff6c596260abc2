"""Measurements: ``./run bench --help``. None of them decides whether a test passes.

A *contestant* (``bench/contestants``) is a way to run steps; a *workload* (``bench/workloads``) is
what its client asks for and times; a *case* is a workload with its parameters. One *round* is one
case on fresh servers with fresh workers. Rounds of all contestants are played in turn.
"""
