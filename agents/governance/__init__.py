"""Governance, decided: what a request will take and cost, before it is made."""
