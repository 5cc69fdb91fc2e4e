"""Communication between processes: launch, collectives with exact gradients, shared encoding."""
