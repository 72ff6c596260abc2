"""Commands and tables for people who watch the service."""
