"""Tools that a model may use."""
