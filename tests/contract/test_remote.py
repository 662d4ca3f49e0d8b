"""DVC remotes, written to by DVC's own means."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.support.projects import Project
from tests.support.servers import Told, web

from dvc_runner.errors import ConfigurationError
from dvc_runner.workspace.dvc_project import DvcProject

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Prove: TypeAlias = Callable[[str | None], str | None]


@pytest.fixture
def prove(project: Project, monkeypatch: pytest.MonkeyPatch) -> Prove:
    """Proves the remote of a project that has one at an address, or none."""

    def at(url: str | None) -> str | None:
        if url:
            project.write(".dvc/config.local", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")
        monkeypatch.chdir(project.root)
        opened = DvcProject(project.root)
        try:
            return opened.prove_remote()
        finally:
            opened.close()

    return at


def test_no_remote(prove: Prove) -> None:
    assert prove(None) is None


def test_a_folder(prove: Prove, tmp_path: Path) -> None:
    remote = tmp_path / "the stóre"
    for existed in (False, True):
        told = prove(str(remote)) or ""
        assert "written and read, and deleted" in told
        assert str(remote) in told
        assert remote.exists() is existed
        remote.mkdir(exist_ok=True)
    assert list(remote.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(prove: Prove, tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(ConfigurationError, match=r"store .*cannot be used: \w+Error"):
        prove(str(tmp_path / "store"))


def test_a_kind_that_is_not_installed(prove: Prove) -> None:
    with pytest.raises(ConfigurationError, match="gs"):
        prove("gs://bucket/data")


@pytest.fixture
def store() -> Iterator[tuple[str, dict[str, str]]]:
    """A server that keeps what is sent to it; gives its address, and what it keeps."""
    kept: dict[str, str] = {}

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Told:
        del headers
        if "locked" in path:
            return Told(status=403)
        if method in ("POST", "PUT"):
            kept[path] = method
            return Told(status=201)
        return Told(kind="application/octet-stream", text="dvc-runner doctor\n" if path in kept else "")

    with web(answer) as port:
        yield f"http://me:pw-7@127.0.0.1:{port}", kept


def test_a_server(prove: Prove, store: tuple[str, dict[str, str]]) -> None:
    address, kept = store
    told = prove(f"{address}/data") or ""
    assert "HTTP cannot delete" in told
    assert "pw-7" not in told
    (path,) = kept
    assert path.startswith("/data/files/md5/")


def test_a_server_that_takes_nothing(prove: Prove, store: tuple[str, dict[str, str]]) -> None:
    with pytest.raises(ConfigurationError, match="403") as raised:
        prove(f"{store[0]}/locked")
    assert "pw-7" not in str(raised.value)
