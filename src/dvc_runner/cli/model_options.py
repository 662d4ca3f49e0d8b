"""The commands below ``dvc-runner models``, and their arguments."""

import argparse
from collections.abc import Callable

Add = Callable[[str, str, str], argparse.ArgumentParser]
VERSION = "its number, or an alias"


def add(command: Add) -> None:
    """Add them; ``command`` makes a parser of a name, a summary and an example."""
    found = command("list", "list models, or the versions of one", "dvc-runner models list iris-classifier")
    found.add_argument("model_name", nargs="?", metavar="MODEL", help="the model (default: all of them)")
    _json(found)
    show = command(
        "show", "show a version: its params and metrics, and where aliases stood", "dvc-runner models show 3"
    )
    show.add_argument("version", nargs="?", default="production", metavar="VERSION", help=f"{VERSION} (production)")
    _json(show)
    compare = command("compare", "compare versions: params, metrics, lineage", "dvc-runner models compare production 4")
    compare.add_argument("versions", nargs="+", metavar="VERSION", help=VERSION)
    compare.add_argument("--html", metavar="FILE", help="write a page")
    _json(compare)
    history = command("history", "list where an alias stood: when, who, why", "dvc-runner models history")
    history.add_argument("--alias", default="production", metavar="NAME", help="which alias (production)")
    _json(history)
    promote = command("promote", "point an alias at a version", 'dvc-runner models promote 3 --why "checked by hand"')
    promote.add_argument("version", metavar="VERSION", help=VERSION)
    _moving(promote, why="promoted by hand")
    rollback = command("rollback", "point an alias where it stood before", "dvc-runner models rollback")
    _moving(rollback, why="rolled back by hand")
    lineage = command("lineage", "show what a version comes from", "dvc-runner models lineage production")
    lineage.add_argument("version", metavar="VERSION", help=VERSION)
    _json(lineage)
    reproduce = command(
        "reproduce", "make a version again from its commit, and compare", "dvc-runner models reproduce production"
    )
    reproduce.add_argument("version", metavar="VERSION", help=VERSION)
    reproduce.add_argument("--tracking-uri", metavar="URI", help="the MLflow server that the runs of this go to")
    _json(reproduce)


def _moving(parser: argparse.ArgumentParser, *, why: str) -> None:
    parser.add_argument("--alias", default="production", metavar="NAME", help="which alias (production)")
    parser.add_argument("--why", default=why, metavar="TEXT", help="is kept in the alias's history")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
