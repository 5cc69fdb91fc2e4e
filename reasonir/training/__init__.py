"""Training: the engine, its Lightning module, planning, optimisation, callbacks and tracking."""
