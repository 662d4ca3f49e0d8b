"""Offer to keep runs on this machine while the configured MLflow server is away."""

import sys
from collections.abc import Callable, Mapping

from dvc_runner.doctor import tracking
from dvc_runner.errors import ConfigurationError

QUESTION = "Keep this run on this machine, for `make sync` to deliver later? [y/N] "


def is_wanted(server: Mapping[str, str], ask: Callable[[str], str] = input) -> bool:
    """Say whether a person wants that, who is asked only if the server does not answer as MLflow does.

    Args:
        server: The variables that lead to it.
        ask: Gives the answer to a question.
    """
    try:
        tracking.prove(server)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        try:
            return ask(QUESTION).strip().lower() in {"y", "yes"}
        except EOFError:
            return False
    return False
