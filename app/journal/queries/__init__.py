"""Reading for people and patterns."""
