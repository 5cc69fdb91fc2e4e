"""Teachers: models whose scores are distillation targets, or tell false negatives."""
