"""The fixtures of all tests."""

import pytest
from hypothesis import settings

from celery_agents import noted

pytest_plugins = ["tests.support.fixtures"]

# A busy machine is no error; what fails is shown once and does not depend on the day.
settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _nothing_noted() -> None:
    """What one test noted is told by the next one all the same."""
    noted._notes._places.clear()
