import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from contract import Checked, StageError, read_params, read_samples, read_table, run
from pydantic import Field

TABLE = Path("table.csv")


class Inner(Checked):
    metric: Literal["f1", "accuracy"]


class Section(Checked):
    count: int = Field(ge=1)
    share: float
    depth: int | None
    inner: Inner


GOOD = "s: {count: 3, share: 1, depth: null, inner: {metric: f1}}"


@pytest.mark.usefixtures("workspace")
def test_good_params_are_read() -> None:
    Path("params.yaml").write_text(GOOD)
    assert read_params("s", Section) == Section(count=3, share=1.0, depth=None, inner=Inner(metric="f1"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(None, ["params.yaml"], id="no file"),
        pytest.param("", ["params.yaml", "`s`"], id="empty file"),
        pytest.param("- s", ["params.yaml", "`s`"], id="a list"),
        pytest.param("t: {}", ["params.yaml", "`s`"], id="another section"),
        pytest.param("s: {count: [1", ["params.yaml", "line 1"], id="not YAML"),
        pytest.param("s: 3", ["params.yaml: s", "3"], id="a number for a section"),
        pytest.param(GOOD.replace("count: 3, ", ""), ["s.count", "missing"], id="missing"),
        pytest.param(GOOD.replace("depth: null, ", ""), ["s.depth", "missing"], id="missing, may be null"),
        pytest.param(GOOD.replace("count: 3", "count: many"), ["s.count", "'many'"], id="text for a number"),
        pytest.param(GOOD.replace("count: 3", "count: '3'"), ["s.count", "'3'"], id="a number in quotes"),
        pytest.param(GOOD.replace("count: 3", "count: true"), ["s.count", "True"], id="true for a number"),
        pytest.param(GOOD.replace("count: 3", "count: 3.0"), ["s.count", "3.0"], id="a fraction for a count"),
        pytest.param(GOOD.replace("count: 3", "count: 0"), ["s.count", "0", "1"], id="too small"),
        pytest.param(GOOD.replace("f1", "f2"), ["s.inner.metric", "'f2'", "accuracy"], id="unknown choice"),
        pytest.param(GOOD.replace("share", "sahre"), ["s.share", "s.sahre"], id="misspelt"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_bad_params_are_named_in_one_line(text: str | None, named: list[str]) -> None:
    if text is not None:
        Path("params.yaml").write_text(text)
    with pytest.raises(StageError) as error:
        read_params("s", Section)
    assert "\n" not in str(error.value)
    for words in named:
        assert words in str(error.value)


@pytest.mark.usefixtures("workspace")
def test_labels_are_text_and_numbers_are_exact() -> None:
    TABLE.write_text("x,label\n5.000000000000001,1\n0.30000000000000004,2\n")
    rows = read_table(TABLE, "label")
    assert rows["label"].tolist() == ["1", "2"]
    assert rows["x"].tolist() == [5.000000000000001, 0.30000000000000004]


@pytest.mark.usefixtures("workspace")
def test_samples_and_labels_are_apart() -> None:
    TABLE.write_text("x,label,y\n1,a,2\n")
    samples, labels = read_samples(TABLE, "label")
    assert samples.dtypes.to_dict() == {"x": "float64", "y": "float64"}
    assert labels.tolist() == ["a"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param(None, ["missing"], id="no file"),
        pytest.param(b"", ["empty"], id="empty file"),
        pytest.param(b"x,label\n", ["no rows"], id="header only"),
        pytest.param(b"x,y\n1,2\n", ["'label'", "['x', 'y']"], id="no such column"),
        pytest.param(b"label\na\n", ["'label'", "alone"], id="nothing to learn from"),
        pytest.param(b"x,label\n1,a\n2,\n3,\n", ["2 rows", "'label'"], id="rows without label"),
        pytest.param(b"x,label\n1,a\n1,2,3,4\n", ["CSV", "line 3"], id="ragged"),
        pytest.param(b"x,label\n\xff\xfe,a\n", ["CSV"], id="not text"),
        pytest.param(b"x,colour,label\n1,red,a\n", ["colour"], id="text among the numbers"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_a_bad_table_is_named_in_one_line(content: bytes | None, named: list[str]) -> None:
    if content is not None:
        TABLE.write_bytes(content)
    with pytest.raises(StageError) as error:
        read_samples(TABLE, "label")
    assert "\n" not in str(error.value)
    for words in [str(TABLE), *named]:
        assert words in str(error.value)


def fail_with(error: Exception, *, cause: Exception | None = None) -> Callable[[], None]:
    def main() -> None:
        raise error from cause

    return main


@pytest.mark.parametrize(
    "main",
    [
        pytest.param(fail_with(StageError("x.csv is empty")), id="user's mistake"),
        pytest.param(fail_with(OSError(errno.ENOSPC, "No space left")), id="full disk"),
        pytest.param(fail_with(ValueError(), cause=OSError(errno.EDQUOT, "Quota")), id="full quota, below"),
    ],
)
def test_what_the_user_can_put_right_is_one_line_and_exit_1(
    main: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    [line] = caplog.records
    assert line.levelno == logging.ERROR
    assert line.exc_info is None
    assert "\n" not in line.getMessage()


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.EACCES, "Permission denied")], ids=repr)
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run(fail_with(error))
