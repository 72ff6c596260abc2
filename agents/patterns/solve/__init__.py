"""``agents.solve``: one of several strategies, by what was learned or by who selects."""
