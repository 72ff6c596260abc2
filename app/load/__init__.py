"""Measuring a service under load: arrivals that wait for no answer, and ends read from its rows."""
