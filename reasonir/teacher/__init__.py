"""Teachers: models whose scores are distillation targets."""
