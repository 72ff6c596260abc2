"""Governance, decided by values and time: what a request takes and costs, what may be used."""
