"""What a worker says of itself: its log."""
