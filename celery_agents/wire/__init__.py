"""The contents of the broker: messages, signatures, results, ids."""
