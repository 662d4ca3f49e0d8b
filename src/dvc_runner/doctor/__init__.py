"""What a machine can and cannot do for a project, proved by doing it."""
