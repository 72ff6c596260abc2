"""Other libraries for agents, inside a step: what they ask of models are journaled calls of it.

Nothing of them is imported before an agent uses it. ``agents`` is also the name of a distribution
of OpenAI's: where that is meant, it is imported by its name as text (deploy/wheel.py).
"""
