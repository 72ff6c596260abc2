"""Replicated values: their changes are entries of streams, which other journals take over."""
