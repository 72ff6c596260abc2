"""Evaluation: an agent or a pattern on a dataset, measured, and held against another one."""
