"""Mailboxes of actors: what they are told, what they have answered."""
