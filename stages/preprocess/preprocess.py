"""Split the table into train and test, with the same share of every class in each."""

import logging
from pathlib import Path

import pandas as pd
from contract import Checked, StageError, read_params, read_table, run
from pydantic import Field

RAW = Path("data/raw/iris.csv")
TRAIN = Path("data/processed/train.csv")
TEST = Path("data/processed/test.csv")

log = logging.getLogger("preprocess")


class Params(Checked):
    """The section ``preprocess`` of params.yaml."""

    target: str
    test_size: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0, lt=2**32)


def split(rows: pd.DataFrame, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split rows into train and test, stratified by the target.

    Args:
        rows: One row per sample; the target column holds class labels.
        params: ``test_size`` is the share of each class that goes to test.

    Returns:
        Train and test, in the order of ``rows``; together they hold every row once, and each holds every class.

    Raises:
        StageError: A class has fewer than two rows, so it cannot stand on both sides.
    """
    counts = rows[params.target].value_counts()
    if not (rare := counts[counts == 1]).empty:
        raise StageError(f"{RAW} has one row only of {list(rare.index)}: a class needs one for train and one for test")
    shuffled = rows.sample(frac=1, random_state=params.seed)
    place = shuffled.groupby(params.target).cumcount()
    size = shuffled[params.target].map(counts)
    in_test = place < (size * params.test_size).round().clip(lower=1, upper=size - 1)
    in_test = in_test.sort_index()
    return rows[~in_test], rows[in_test]


def main() -> None:
    """Read the raw table and write its two parts."""
    params = read_params("preprocess", Params)
    rows = read_table(RAW, params.target)
    train, test = split(rows, params)
    for part, path in ((train, TRAIN), (test, TEST)):
        part.to_csv(path, index=False, lineterminator="\n")
        log.info("%s: %d rows of %d", path, len(part), len(rows))


if __name__ == "__main__":
    run(main)
