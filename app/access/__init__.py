"""Who may do what: keys, tokens, roles and permissions."""
