"""Arguments in, exit code out. The only floor that prints, and that reads the environment."""
