"""A stage's reach as rules of Linux's Landlock, by the library landlockpy."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from landlockpy import AccessFS, AccessNet, Ruleset, Scope

from dvc_runner.executors import walls
from dvc_runner.executors.reach import Reach
from dvc_runner.model import Network

_READ = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE
_DEVICE = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.WRITE_FILE | AccessFS.IOCTL_DEV
_WRITE = ~(AccessFS.MAKE_CHAR | AccessFS.MAKE_BLOCK | AccessFS.IOCTL_DEV)
# What makes sense for a file; the rest is for folders, and the kernel refuses it elsewhere.
_OF_FILES = AccessFS.EXECUTE | AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.TRUNCATE | AccessFS.IOCTL_DEV
_TCP = AccessNet.BIND_TCP | AccessNet.CONNECT_TCP
_NETWORK = {
    Network.NONE: _TCP | AccessNet.BIND_UDP | AccessNet.CONNECT_SEND_UDP,
    # Its server's name may have to be looked up, by UDP.
    Network.TRACKING: _TCP,
    Network.INTERNET: AccessNet.NONE,
}


@contextlib.contextmanager
def around(reach: Reach) -> Iterator[int | None]:
    """Give a descriptor of rules that allow ``reach`` and nothing else, as far as this kernel can; None if not at all.

    Whoever restricts itself to them loses the rest for ever, and so do its children; making them restricts nobody.
    """
    if not walls.here().files:
        yield None
        return
    with Ruleset(handled_net=_NETWORK[reach.network], scoped=Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET) as rules:
        _allow(rules, reach.reads, _READ)
        _allow(rules, reach.writes, _WRITE)
        _allow(rules, (path for path in reach.system if path.exists()), _READ)
        _allow(rules, (path for path in reach.devices if path.exists()), _DEVICE)
        for port in reach.ports:
            rules.allow_port(port, AccessNet.CONNECT_TCP)
        yield rules.fileno()


def _allow(rules: Ruleset, paths: Iterable[Path], access: AccessFS) -> None:
    for path in paths:
        rules.allow_path(path, access if path.is_dir() else access & _OF_FILES)
