"""Which candidate of a fallback chain is tried, and when: pure functions of data."""
