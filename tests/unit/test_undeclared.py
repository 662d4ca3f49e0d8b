"""A failed stage's words, and what they say of a read that dvc.yaml does not declare."""

from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.trees import lay
from tests.support.values import a_stage

from dvc_runner.errors import StageError
from dvc_runner.model import Build, Container, Stage
from dvc_runner.pipeline.undeclared import Place, explained

RAW = "data/raw/iris.csv"
SCRATCH = "/a projéct/.dvc/tmp/dvc-runner/scratch/train-x/workspace"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    lay(
        tmp_path,
        {
            "data": {"raw": {"iris.csv": "1", "with space.csv": "1"}, "in.csv": "1"},
            "stages": {"train": {"train.py": ""}, "shared": {"__init__.py": ""}},
            "sub": {"own.csv": "", "helper.py": ""},
            "Makefile": "",
            "params.yaml": "",
            "out.csv": "",
            ".env": "",
            ".git": {"HEAD": ""},
        },
    )
    return Place(root=tmp_path, seen_as=("/workspace", SCRATCH, "/a projéct"))


def stage(address: str = "train", wdir: str = ".") -> Stage:
    build = Build(context="stages/train", dockerfile="stages/train/Dockerfile")
    return a_stage(
        address,
        deps=["stages/train", "data/in.csv"],
        outs=["out.csv"],
        wdir=wdir,
        container=Container(build=build),
    )


def told(place: Place, *words: str, of: Stage | None = None) -> StageError:
    plain = StageError("train ended with exit code 1", remedy="its own words say why")
    return explained(plain, of or stage(), words, place)


@cases(
    "line",
    {
        "Python": [f"FileNotFoundError: [Errno 2] No such file or directory: '{RAW}'"],
        "Python, by a full path": [f"FileNotFoundError: [Errno 2] No such file or directory: '/workspace/{RAW}'"],
        "in a scratch folder": [f"FileNotFoundError: [Errno 2] No such file or directory: '{SCRATCH}/{RAW}'"],
        "in the project itself": [f"PermissionError: [Errno 13] Permission denied: '/a projéct/{RAW}'"],
        "polars": [f"FileNotFoundError: No such file or directory (os error 2): {RAW}"],
        "numpy": [f"FileNotFoundError: {RAW} not found."],
        "duckdb": [f'IO Error: No files found that match the pattern "{RAW}"'],
        "cat": [f"cat: {RAW}: No such file or directory"],
        "a path from above": [
            f"cat: ../workspace/x/../{RAW}: No such file or directory".replace("../workspace/x/", "x/")
        ],
        "a shell": [f"sh: 1: cannot open {RAW}: No such file"],
        "R": [f"  cannot open file '{RAW}': No such file or directory"],
        "R, as it prints it": [f"Error: ‘{RAW}’ does not exist."],  # noqa: RUF001 - R's own
        "Java": [f"java.io.FileNotFoundException: {RAW} (No such file or directory)"],
        "Java, nio": [f"java.nio.file.NoSuchFileException: {RAW}"],
        "Go": [f"panic: open {RAW}: no such file or directory"],
        "Node": [f"Error: ENOENT: no such file or directory, open '{RAW}'"],
        "Julia": [f'ERROR: SystemError: opening file "{RAW}": No such file or directory'],
        "a URL": [f"could not open file:///workspace/{RAW}"],
    },
)
def test_an_undeclared_file_is_named_with_the_way_out(place: Place, line: str) -> None:
    error = told(place, "before", line, "after")
    assert f"could not read {RAW}, which exists in the project and is not among its deps" in str(error)
    assert str(error).startswith("train ended with exit code 1")
    assert error.remedy == f"add {RAW} to deps of train in dvc.yaml"


@cases(
    "line",
    {
        "a file that does not exist": ["FileNotFoundError: [Errno 2] No such file or directory: 'data/none.csv'"],
        "a dep": ["PermissionError: [Errno 13] Permission denied: 'data/in.csv'"],
        "a file in a dep": ["cat: stages/train/train.py: Permission denied"],
        "the folder of a dep": ["ls: cannot open directory 'data': Permission denied"],
        "an out": ["FileNotFoundError: [Errno 2] No such file or directory: 'out.csv'"],
        "no word of a missing file": [f"ValueError: {RAW} has no rows"],
        "a column of a folder's name": ["KeyError: column sub not found"],
        "credentials": ["cat: .env: No such file or directory"],
        "git's own": ["fatal: .git/HEAD: No such file or directory"],
        "outside the project": ["cat: ../data/raw/iris.csv: No such file or directory"],
        "elsewhere on the machine": ["cat: /elsewhere/data/raw/iris.csv: No such file or directory"],
        "a name too long for a file": [f"No such file or directory: '{'x' * 5000}'"],
        "a zero": ["No such file or directory: 'a\0b'"],
        "a module of the world's": ["ModuleNotFoundError: No module named 'pandas'"],
        "nothing": [""],
    },
)
def test_nothing_is_guessed(place: Place, line: str) -> None:
    error = told(place, line)
    assert (str(error), error.remedy) == ("train ended with exit code 1", "its own words say why")


def test_spaces_in_quotes(place: Place) -> None:
    for line in ("cat: 'data/raw/with space.csv': No such file", "x: data/raw/with space.csv: No such file"):
        assert "data/raw/with space.csv" in told(place, line).remedy


def test_several_files(place: Place) -> None:
    error = told(place, *(f"cat: {name}: No such file" for name in (RAW, "Makefile", RAW)))
    assert error.remedy == f"add {RAW}, Makefile to deps of train in dvc.yaml"
    assert "which exist in the project" in str(error)


@cases(
    "address, wdir, remedy",
    {
        "a working folder": ("train", "sub", "add own.csv to deps of train in dvc.yaml"),
        "another file": ("sub/dvc.yaml:train", "sub", "add own.csv to deps of train in sub/dvc.yaml"),
        "of a foreach": ("train@a b", "sub", "add own.csv to deps of train in dvc.yaml"),
    },
)
def test_the_remedy_is_as_its_author_writes(place: Place, address: str, wdir: str, remedy: str) -> None:
    error = told(place, "cat: own.csv: No such file or directory", of=stage(address, wdir))
    assert "could not read sub/own.csv" in str(error)
    assert error.remedy == remedy


def test_parameters_are_no_deps(place: Place) -> None:
    error = told(place, "FileNotFoundError: [Errno 2] No such file or directory: 'params.yaml'")
    assert "params.yaml" in str(error)
    assert error.remedy == "add the parameters that it reads to params of train in dvc.yaml"


@cases(
    "name, wdir, path, written",
    {
        "a folder beside the stage's": ("shared", ".", "stages/shared", "stages/shared"),
        "a part of one": ("shared.tables", ".", "stages/shared", "stages/shared"),
        "a file in the working folder": ("helper", "sub", "sub/helper.py", "helper.py"),
    },
)
def test_modules_of_the_projects(place: Place, name: str, wdir: str, path: str, written: str) -> None:
    error = told(place, f"ModuleNotFoundError: No module named '{name}'", of=stage(wdir=wdir))
    assert f"{path} exists in the project and is not among its deps" in str(error)
    assert f"add {written} to deps of train in dvc.yaml" in error.remedy
    assert "build.include" in error.remedy
