"""What a stage means: whether it runs and why, and the run from one end to the other."""
