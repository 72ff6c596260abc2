"""Threads, the loop, fibers, futures, batches: the ground of all else."""
