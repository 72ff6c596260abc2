"""Admission of calls to agents: breakers and health."""
