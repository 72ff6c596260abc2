"""Values that several journals change at once, and that are equal when each has all changes."""
