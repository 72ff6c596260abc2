"""The guards themselves, one concern each; `chain.py` has their order."""
