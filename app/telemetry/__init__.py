"""The worker's reports on itself: its log."""
