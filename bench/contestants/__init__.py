"""One package for each: how its workers are started, its app, its client (``driver``).

Apps and drivers run in their contestant's own environment, so the packages import nothing else of
the project than ``bench.contestant``, ``bench.driver`` and ``bench.model_client``.
"""
