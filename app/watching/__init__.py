"""Progress and streams: runs tell those that watch them while they work."""
