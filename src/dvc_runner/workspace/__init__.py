"""The project on disk: DVC's files, the lock of a run, what a stage sees."""
