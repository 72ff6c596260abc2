"""Followers of streams: cursors of clients, subscriptions that are served, projections."""
