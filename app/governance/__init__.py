"""Governance in a worker: what its agents' requests teach, shared with all workers."""
