"""Whether an agent may be asked now: breakers and health."""
