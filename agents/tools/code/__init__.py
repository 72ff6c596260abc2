"""Programs of models, which call their tools."""
