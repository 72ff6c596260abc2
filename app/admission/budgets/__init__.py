"""Budgets: reserved before a request, settled after it, copied from the journal."""
