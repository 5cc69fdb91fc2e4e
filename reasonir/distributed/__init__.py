"""What several processes tell each other: launch, collectives with exact gradients, shared encoding."""
