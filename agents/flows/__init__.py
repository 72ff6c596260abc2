"""Flows: async functions that are replayed from what a run has told them so far.

Pure: a flow's code is run on a loop of its own, to where it waits. What comes of that is data.
"""
