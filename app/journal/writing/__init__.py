"""Group commit, and each database's fast path."""
