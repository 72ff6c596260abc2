"""Those outside: other workers, other apps, and those who wait for their tasks."""
