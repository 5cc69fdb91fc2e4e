"""Before training: lengths, memory, and the micro-batch budget."""
