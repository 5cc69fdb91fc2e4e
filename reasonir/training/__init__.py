"""Training with Lightning: module, data module, callbacks, checkpoints, optimiser and trainer."""
