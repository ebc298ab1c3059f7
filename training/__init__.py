"""One step and what is around it."""
