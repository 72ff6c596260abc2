"""Payloads of flows, and entries of streams, as values."""
