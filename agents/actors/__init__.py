"""Actors: objects of a key whose state lasts, and whose methods take one message after the other.

Pure, as flows are: an actor is a flow that never ends.
"""
