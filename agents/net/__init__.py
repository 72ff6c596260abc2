"""HTTP clients, and the meaning of their errors."""
