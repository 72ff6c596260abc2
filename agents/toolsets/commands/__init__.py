"""Programs of the machine as a tool: off, unless a configuration names them."""
