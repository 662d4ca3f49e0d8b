"""A build context: which files are in it, its hash, and the archive the engine is sent."""

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from docker.utils.build import exclude_paths

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Build

KEY_LENGTH = 16
EXECUTABLE = 0o100
IGNORE = ".dockerignore"


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The files of a build; names are POSIX and relative to ``folder``."""

    folder: Path
    dockerfile: str
    names: tuple[str, ...]
    args: tuple[tuple[str, str], ...]

    def key(self, platform: str) -> str:
        """Hash all that the image is made from: files, Dockerfile, arguments, platform."""
        digest = hashlib.sha256(repr((platform, self.dockerfile, self.args)).encode())
        for name in self.names:
            path = self.folder / name
            digest.update(repr((name, _mode(path), path.is_dir())).encode())
            if path.is_symlink():
                digest.update(str(path.readlink()).encode())
            elif path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:KEY_LENGTH]

    def largest_file(self) -> str:
        """Give the hash of the largest file's content; of nothing, where there is none."""
        files = [path for name in self.names if (path := self.folder / name).is_file()]
        largest = max(files, key=lambda path: path.stat().st_size, default=None)
        return hashlib.sha256(largest.read_bytes() if largest else b"").hexdigest()

    def archive(self) -> bytes:
        """Give the context as an uncompressed tar: same files, same bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in self.names:
                archive.add(self.folder / name, arcname=name, recursive=False, filter=_anonymous)
        return buffer.getvalue()


def read(root: Path, build: Build) -> Context:
    """List the files of ``build``, as ``.dockerignore`` leaves them.

    Raises:
        ConfigurationError: The context or its Dockerfile does not exist, or one lies outside the other.
    """
    folder = root / build.context
    dockerfile = os.path.relpath(root / build.dockerfile, folder).replace(os.sep, "/")
    for name, there in ((build.context, folder.is_dir()), (build.dockerfile, (root / build.dockerfile).is_file())):
        if not there:
            raise ConfigurationError(
                f"{name} does not exist",
                remedy="write it, or correct build below meta.container in dvc.yaml",
            )
    if dockerfile.startswith("../"):
        raise ConfigurationError(
            f"{build.dockerfile} lies outside its build context {build.context}",
            remedy="take a context that holds it; include can keep the rest of that context out",
        )
    names = exclude_paths(str(folder), _patterns(folder, dockerfile), dockerfile=dockerfile)
    sent = [
        name for name in names if name and _included(name, build.include) and not _says_what_is_sent(name, dockerfile)
    ]
    return Context(folder=folder, dockerfile=dockerfile, names=tuple(sorted({*sent, dockerfile})), args=build.args)


def _patterns(folder: Path, dockerfile: str) -> list[str]:
    """Read what is left out; as BuildKit has it, a Dockerfile's own ignore file takes the place of the context's."""
    own, shared = folder / f"{dockerfile}{IGNORE}", folder / IGNORE
    ignore = own if own.is_file() else shared
    lines = ignore.read_text(encoding="utf-8-sig").splitlines() if ignore.is_file() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _says_what_is_sent(name: str, dockerfile: str) -> bool:
    """Tell an ignore file: it is not sent, else the classic builder would apply it once more, and BuildKit not."""
    return name in (IGNORE, f"{dockerfile}{IGNORE}")


def _included(name: str, include: tuple[str, ...]) -> bool:
    if not include:
        return True
    return any(name == folder or name.startswith(f"{folder}/") for folder in include)


def _mode(path: Path) -> int:
    return 0o755 if path.is_dir() or path.lstat().st_mode & EXECUTABLE else 0o644


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out what differs between two checkouts of the same files."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o755 if info.isdir() or info.mode & EXECUTABLE else 0o644
    return info
