"""How a model leaves the project: card, hub, registry, serving."""
