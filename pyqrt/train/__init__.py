"""Training of float encoders: the loop, packed batches, losses of the tasks, checkpoints. Needs torch."""
