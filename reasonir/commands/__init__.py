"""Work of the commands, from a configuration to results."""
