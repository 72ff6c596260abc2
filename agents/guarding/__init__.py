"""Findings in the texts that go into agents and come out of them, and what is made of them."""
