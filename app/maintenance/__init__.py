"""Work beside the steps: recovery, retention, dead letters, health, the endpoint."""
