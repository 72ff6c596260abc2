"""The server of a process, below the app."""
