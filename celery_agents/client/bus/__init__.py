"""Events: appended, folded, and served to whoever subscribes."""
