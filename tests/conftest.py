"""The fixtures of all tests."""

from hypothesis import settings

pytest_plugins = ["tests.support.fixtures"]

# A busy machine is no error; what fails is shown once and does not depend on the day.
settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")
