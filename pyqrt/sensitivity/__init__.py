"""Which tensors' rounding costs most, and where 16 bits pay. Needs torch."""
