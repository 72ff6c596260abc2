"""What goes on beside steps: recovery, retention, dead letters, health, the endpoint."""
