"""The choice and the time of a fallback chain's candidates: pure functions of data."""
