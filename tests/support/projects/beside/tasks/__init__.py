"""The project's own; no part of the service."""

OWNER = "the project"
