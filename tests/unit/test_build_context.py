"""An image is named by all that it is built from, and by nothing else."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.trees import Node, lay

from dvc_runner.engine import context
from dvc_runner.engine.images import with_base
from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Build

PLATFORM = "linux/amd64"
BUILD = Build(context="stages/one", dockerfile="stages/one/Dockerfile", args=(("A", "1"),))
FILES: dict[str, Node] = {
    "Dockerfile": "FROM x",
    "one.py": "code",
    "lib": {"a.py": "a", "b b:é.py": "b"},
    "link": Path("one.py"),
    "empty": {},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lay(tmp_path / "stages" / "one", FILES)
    return tmp_path


def key(root: Path, build: Build = BUILD, platform: str = PLATFORM) -> str:
    return context.read(root, build).key(platform)


def archived(found: context.Context) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(found.archive())) as archive:
        return archive.getnames()


def edit(name: str, text: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        lay(folder, {name: text})

    return act


def move(folder: Path) -> None:
    (folder / "one.py").rename(folder / "two.py")


def drop(folder: Path) -> None:
    (folder / "lib" / "a.py").unlink()


def make_executable(folder: Path) -> None:
    (folder / "one.py").chmod(0o755)


def lead_elsewhere(folder: Path) -> None:
    lay(folder, {"link": Path("lib")})


def add_folder(folder: Path) -> None:
    (folder / "another").mkdir()


def swap(folder: Path) -> None:
    lay(folder, {"one.py": "a", "lib": {"a.py": "code"}})


@cases(
    "change",
    {
        "a file's content": [edit("one.py", "code!")],
        "a file deep inside": [edit("lib/a.py", "A")],
        "the Dockerfile": [edit("Dockerfile", "FROM y")],
        "a new file": [edit("new.py", "")],
        "a new folder": [add_folder],
        "a file less": [drop],
        "a file's name": [move],
        "two files' contents swapped": [swap],
        "the executable bit": [make_executable],
        "where a link leads": [lead_elsewhere],
    },
)
def test_key_changes_with_every_input(root: Path, change: Callable[[Path], None]) -> None:
    before = key(root)
    change(root / "stages" / "one")
    assert key(root) != before


@cases(
    "build, platform",
    {
        "an argument's value": (replace(BUILD, args=(("A", "2"),)), PLATFORM),
        "an argument's name": (replace(BUILD, args=(("B", "1"),)), PLATFORM),
        "an argument less": (replace(BUILD, args=()), PLATFORM),
        "the platform": (BUILD, "linux/arm64"),
        "another Dockerfile": (replace(BUILD, dockerfile="stages/one/other/Dockerfile"), PLATFORM),
    },
)
def test_key_changes_with_how_it_is_built(root: Path, build: Build, platform: str) -> None:
    lay(root / "stages" / "one", {"other": {"Dockerfile": "FROM x"}})
    assert key(root, build, platform) != key(root)


def age(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (1, 1), follow_symlinks=False)


def share_with_group(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        path.chmod(0o664)


def write_again(folder: Path) -> None:
    text = (folder / "one.py").read_text()
    (folder / "one.py").unlink()
    (folder / "one.py").write_text(text)


def edit_what_lies_beside(folder: Path) -> None:
    lay(folder.parent, {"two": {"two.py": "x"}})


@cases(
    "change",
    {
        "times": [age],
        "a checkout with another umask": [share_with_group],
        "a file written again": [write_again],
        "a file outside the context": [edit_what_lies_beside],
    },
)
def test_key_and_archive_stay(root: Path, change: Callable[[Path], None]) -> None:
    before, archive = key(root), context.read(root, BUILD).archive()
    change(root / "stages" / "one")
    assert key(root) == before
    assert context.read(root, BUILD).archive() == archive


def test_two_checkouts_have_one_key(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "stages", tmp_path / "elsewhere" / "stages", symlinks=True)
    assert key(tmp_path / "elsewhere") == key(root)


def test_archive_holds_what_the_key_does(root: Path) -> None:
    found = context.read(root, BUILD)
    names = {"Dockerfile", "one.py", "lib", "lib/a.py", "lib/b b:é.py", "link", "empty"}
    assert set(found.names) == set(archived(found)) == names
    with tarfile.open(fileobj=io.BytesIO(found.archive())) as archive:
        assert archive.getmember("link").linkname == "one.py"
        for member in archive.getmembers():
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)


@cases(
    "patterns, left_out",
    {
        "nothing": ("", []),
        "a file": ("one.py", ["one.py"]),
        "a folder": ("lib", ["lib", "lib/a.py", "lib/b b:é.py"]),
        "a folder with a slash": ("lib/", ["lib", "lib/a.py", "lib/b b:é.py"]),
        "a pattern at the top only": ("*.py", ["one.py"]),
        "a pattern everywhere": ("**/*.py", ["one.py", "lib/a.py", "lib/b b:é.py"]),
        "all but one": ("*\n!one.py", ["lib", "lib/a.py", "lib/b b:é.py", "link", "empty"]),
        "a comment": ("# one.py\none.py", ["one.py"]),
        "Windows' line ends": ("one.py\r\nlink\r\n", ["one.py", "link"]),
        "a byte-order mark": ("\ufeffone.py", ["one.py"]),
        "spaces around": ("  one.py  ", ["one.py"]),
        "the Dockerfile itself": ("Dockerfile", []),
    },
)
def test_dockerignore_holds_for_key_and_archive(root: Path, patterns: str, left_out: list[str]) -> None:
    folder = root / "stages" / "one"
    everything = set(context.read(root, BUILD).names)
    lay(folder, {".dockerignore": patterns})
    found = context.read(root, BUILD)
    assert set(archived(found)) == set(found.names) == everything - set(left_out)
    before = key(root)
    for name in left_out:
        if (folder / name).is_file() and not (folder / name).is_symlink():
            (folder / name).write_text("edited")
    assert key(root) == before


@cases(
    "files, dockerfile, left_out",
    {
        "its own": ({"Dockerfile.dockerignore": "one.py"}, "Dockerfile", {"one.py"}),
        "its own, and not the context's": (
            {"Dockerfile.dockerignore": "one.py", ".dockerignore": "link"},
            "Dockerfile",
            {"one.py"},
        ),
        "beside one deeper inside": ({"lib": {"D": "FROM x", "D.dockerignore": "link"}}, "lib/D", {"link"}),
        "of another Dockerfile": ({"lib": {"D.dockerignore": "link"}}, "Dockerfile", set()),
    },
)
def test_a_dockerfile_may_have_an_ignore_file_of_its_own(
    root: Path, files: dict[str, Node], dockerfile: str, left_out: set[str]
) -> None:
    lay(root / "stages" / "one", files)
    found = context.read(root, replace(BUILD, dockerfile=f"stages/one/{dockerfile}"))
    assert set(archived(found)) == set(found.names)
    assert {"one.py", "link"} - set(found.names) == left_out
    assert not {".dockerignore", f"{dockerfile}.dockerignore"} & set(found.names)


SHARED = Build(context="stages", dockerfile="stages/one/Dockerfile", include=("one", "shared"))


def test_include_sends_those_folders_alone(root: Path) -> None:
    lay(root / "stages", {"shared": {"s.py": "s"}, "shared-not": {"t.py": "t"}, "two": {"two.py": "two"}, "x.md": "x"})
    found = context.read(root, SHARED)
    assert {name.split("/")[0] for name in found.names} == {"one", "shared"}
    assert set(archived(found)) == set(found.names)
    before = found.key(PLATFORM)
    lay(root / "stages", {"two": {"two.py": "edited"}, "shared-not": {"t.py": "edited"}, "x.md": "edited"})
    assert key(root, SHARED) == before
    lay(root / "stages", {"shared": {"s.py": "edited"}})
    assert key(root, SHARED) != before


def test_a_dockerfile_beside_what_is_included_is_sent_and_counts(root: Path) -> None:
    lay(root / "stages", {"Dockerfile": "FROM x"})
    build = replace(SHARED, dockerfile="stages/Dockerfile", include=("one",))
    found = context.read(root, build)
    assert "Dockerfile" in archived(found)
    before = found.key(PLATFORM)
    lay(root / "stages", {"Dockerfile": "FROM y"})
    assert key(root, build) != before


@cases(
    "build, named",
    {
        "no Dockerfile": (replace(BUILD, dockerfile="stages/one/nowhere"), "stages/one/nowhere"),
        "no context": (Build(context="nowhere", dockerfile="nowhere/Dockerfile"), "nowhere"),
        "a folder for a Dockerfile": (replace(BUILD, dockerfile="stages/one/lib"), "stages/one/lib"),
        "a file for a context": (replace(BUILD, context="stages/one/one.py"), "stages/one/one.py"),
        "a Dockerfile outside its context": (replace(BUILD, context="stages/one/lib"), "stages/one/Dockerfile"),
    },
)
def test_what_is_not_there_is_named(root: Path, build: Build, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        context.read(root, build)


@cases(
    "args, base, expected",
    {
        "given": ((("BASE_IMAGE", "a"), ("B", "1")), "b", (("B", "1"), ("BASE_IMAGE", "b"))),
        "not given": ((("BASE_IMAGE", "a"),), None, (("BASE_IMAGE", "a"),)),
        "given, and not taken": ((("B", "1"),), "b", (("B", "1"),)),
    },
)
def test_another_base_image(
    args: tuple[tuple[str, str], ...], base: str | None, expected: tuple[tuple[str, str], ...]
) -> None:
    assert with_base(replace(BUILD, args=args), base).args == expected
