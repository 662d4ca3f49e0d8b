"""Write the iris table, which scikit-learn brings along, with tidy column names."""

import csv
import logging
import re
from pathlib import Path

from sklearn.datasets import load_iris

OUT = Path("data/raw/iris.csv")
TARGET = "species"

log = logging.getLogger("ingest")


def tidy(name: str) -> str:
    """Make a column's name one word in snake case: ``sepal length (cm)`` becomes ``sepal_length_cm``."""
    return re.sub(r"\W+", "_", name).strip("_").lower()


def main() -> None:
    """Write the table: one row per flower, the species by its name."""
    iris = load_iris()
    columns = [*map(tidy, iris.feature_names), TARGET]
    species = iris.target_names[iris.target].tolist()
    rows = [[*sizes, name] for sizes, name in zip(iris.data.tolist(), species, strict=True)]
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    log.info("%s: %d rows, columns %s", OUT, len(rows), ", ".join(columns))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        main()
    except OSError as error:
        log.error("cannot write %s: %s", OUT, error.strerror)  # noqa: TRY400 - the user's disk, not our bug
        raise SystemExit(1) from None
