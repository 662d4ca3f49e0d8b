from collections.abc import Callable

import pandas as pd
import preprocess
import pytest
from contract import StageError
from preprocess import Params, split


def table(**counts: int) -> pd.DataFrame:
    """So many rows of each class, each row with a number of its own."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    return pd.DataFrame({"id": range(len(labels)), "species": labels})


def params(*, test_size: float = 0.2, seed: int = 42) -> Params:
    return Params(target="species", test_size=test_size, seed=seed)


@pytest.mark.parametrize(
    ("counts", "test_size", "in_test"),
    [
        pytest.param({"a": 50, "b": 50, "c": 50}, 0.2, {"a": 10, "b": 10, "c": 10}, id="iris"),
        pytest.param({"a": 90, "b": 10}, 0.3, {"a": 27, "b": 3}, id="unbalanced"),
        pytest.param({"a": 2, "b": 2}, 0.01, {"a": 1, "b": 1}, id="never none for test"),
        pytest.param({"a": 2, "b": 3}, 0.99, {"a": 1, "b": 2}, id="never none for train"),
    ],
)
def test_every_row_goes_to_one_side_and_every_class_to_both(
    counts: dict[str, int], test_size: float, in_test: dict[str, int]
) -> None:
    rows = table(**counts)
    train, test = split(rows, params(test_size=test_size))
    assert sorted([*train["id"], *test["id"]]) == rows["id"].tolist()
    assert test["species"].value_counts().to_dict() == in_test
    assert set(train["species"]) == set(counts)
    assert train["id"].is_monotonic_increasing
    assert test["id"].is_monotonic_increasing


def test_the_seed_alone_says_which_rows_go_where() -> None:
    rows = table(a=50, b=50)
    first, again, other = (split(rows, params(seed=seed))[1]["id"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_column_orders_the_rows_of_test() -> None:
    _, test = split(table(a=100), params(test_size=0.1))
    assert test["id"].max() - test["id"].min() > 50


def test_a_class_of_one_row_is_refused_by_name() -> None:
    with pytest.raises(StageError, match="rare"):
        split(table(common=10, rare=1), params())


@pytest.mark.usefixtures("workspace")
def test_values_are_written_as_they_were_read(write_params: Callable[..., None]) -> None:
    write_params("preprocess", test_size=0.5)
    preprocess.RAW.write_text("x,y,species\n0.1,1,a\n5.000000000000001,2,a\n-3e-05,3,b\n0.30000000000000004,4,b\n")
    preprocess.main()
    written = [path.read_text().splitlines() for path in (preprocess.TRAIN, preprocess.TEST)]
    assert [lines[0] for lines in written] == ["x,y,species"] * 2
    assert sorted(line for lines in written for line in lines[1:]) == sorted(
        ["0.1,1,a", "5.000000000000001,2,a", "-3e-05,3,b", "0.30000000000000004,4,b"]
    )


@pytest.mark.parametrize(
    "changes",
    [{"test_size": 0}, {"test_size": 1.0}, {"test_size": "0.2"}, {"seed": -1}, {"seed": 1.5}, {"typo": 1}],
    ids=str,
)
@pytest.mark.usefixtures("workspace")
def test_params_out_of_range_are_refused_by_name(write_params: Callable[..., None], changes: dict[str, object]) -> None:
    write_params("preprocess", **changes)
    with pytest.raises(StageError, match=f"preprocess.{next(iter(changes))}"):
        preprocess.main()
