"""Planning of a run: lengths, memory, and the micro-batch budget."""
