"""Maps whose inputs came in pages."""
