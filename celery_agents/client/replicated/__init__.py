"""Replicated values, for programs that change and read them."""
