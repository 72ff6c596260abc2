"""What goes over the broker: messages, signatures, results, ids."""
