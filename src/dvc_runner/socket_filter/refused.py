"""What the filter says no to."""


class RefusedError(Exception):
    """Something that the runner never asks for; the message names it, and what would have passed."""


class EngineGoneError(Exception):
    """The engine behind the filter does not answer, or stopped in the middle."""
