"""The suite that kills: real workers and servers, ended, frozen and emptied at random moments.

``./run chaos`` runs all of it; docs/chaos.md says how to read what it prints.
"""
