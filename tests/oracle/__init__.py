"""The integer operations in unbounded integers, written from their definitions alone."""
