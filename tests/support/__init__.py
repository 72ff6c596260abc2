"""Real servers and workers for the tests, as processes of this machine."""
