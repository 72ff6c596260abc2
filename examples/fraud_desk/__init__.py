"""A fraud desk with everything on: see ``desk.py`` and ``agents.toml``; ``./run example``."""
