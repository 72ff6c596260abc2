"""Changes that clients are told of: of lists, and of resources that they subscribe to."""
