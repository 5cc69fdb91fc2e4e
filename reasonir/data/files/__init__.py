"""File readers, whose rows carry their location for error messages."""
