"""Changes of a step: insert, claim, call, expand, finish, cancel, approve, undo."""
