"""Timing things against each other on a machine that others use too."""
