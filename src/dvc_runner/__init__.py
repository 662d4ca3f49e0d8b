"""dvc-runner: runs the stages of a dvc.yaml, each in a container of its own."""

from importlib.metadata import version

__version__ = version("dvc-runner")
