"""The test kit: what ``celery_agents.testing`` and pytest's fixtures give to tests of agents.

Nothing of it is imported by a service.
"""
