"""Several jobs as one: processes, outcomes, summary."""
