"""Group commit, and the short ways of each database."""
