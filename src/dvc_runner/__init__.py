"""dvc-runner: runs the stages of a dvc.yaml, each in a container of its own."""
