"""Admission of turns and their requests: whether one may be made, by whom, and when."""
