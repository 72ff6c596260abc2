"""Access: keys, tokens, roles and permissions."""
