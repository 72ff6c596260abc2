"""Seals by which clients give back what they were given, and nothing else."""
