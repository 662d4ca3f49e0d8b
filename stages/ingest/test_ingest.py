import csv
import logging
import runpy
from pathlib import Path

import ingest
import pytest

COLUMNS = ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm", "species"]


@pytest.mark.parametrize(
    ("name", "tidied"),
    [
        ("sepal length (cm)", "sepal_length_cm"),
        ("od280/od315_of_diluted_wines", "od280_od315_of_diluted_wines"),
        ("Species", "species"),
        ("  width ", "width"),
    ],
)
def test_names_become_tidy(name: str, tidied: str) -> None:
    assert ingest.tidy(name) == tidied


@pytest.mark.usefixtures("workspace")
def test_the_whole_table_is_written_tidily() -> None:
    ingest.main()
    raw = ingest.OUT.read_bytes()
    header, *rows = csv.reader(raw.decode().splitlines())
    assert header == COLUMNS
    assert len(rows) == 150
    assert rows[0] == ["5.1", "3.5", "1.4", "0.2", "setosa"]
    assert {name: sum(row[-1] == name for row in rows) for name in ("setosa", "versicolor", "virginica")} == {
        "setosa": 50,
        "versicolor": 50,
        "virginica": 50,
    }
    assert b"\r" not in raw


def test_a_table_that_cannot_be_written_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(ingest.__file__, run_name="__main__")
    assert end.value.code == 1
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "data/raw/iris.csv" in line.getMessage()
    assert line.exc_info is None
