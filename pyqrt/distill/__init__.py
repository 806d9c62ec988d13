"""Knowledge distillation: a student encoder learns what a teacher encoder computes. Needs torch."""
