"""Say in two lines why installing packages failed, and exit 3.

explain_install.py WHO LOG: WHO is what failed, LOG what it wrote.
"""

import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

# Where locked packages come from: the index, and the files it points to.
PROXY_WANTS_PASSWORD = 407
HOSTS = ("https://pypi.org/simple/uv/", "https://files.pythonhosted.org/")


def unreachable(urls: tuple[str, ...] = HOSTS, *, timeout_s: float = 10) -> str | None:
    """Say which package host does not answer and why; None when all do."""
    for url in urls:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - https, from HOSTS
            urllib.request.urlopen(request, timeout=timeout_s).close()  # noqa: S310 - the same
        except urllib.error.HTTPError as error:
            # A file host may well refuse its bare address; a proxy that wants a password says 407.
            if error.code == PROXY_WANTS_PASSWORD:
                return f"{url} is behind a proxy that wants a password (407)"
        except OSError as error:
            return f"{url} does not answer ({getattr(error, 'reason', error)})"
    return None


def explain(log: str) -> tuple[str, str]:
    """Return what is wrong, and the way out."""
    if re.search(r"\b(Errno|os error) 28\b", log):
        return "the disk is full", "free some space (about 2 GB), then run it again"
    if reason := unreachable():
        return f"no network for packages: {reason}", "connect, or set HTTPS_PROXY or SSL_CERT_FILE, then run it again"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return "installing packages failed: " + " / ".join(lines[-2:]), "read the log, mend it, then run it again"


def main() -> None:
    """Read the log, explain it, exit 3."""
    who, log = sys.argv[1], Path(sys.argv[2])
    problem, remedy = explain(log.read_text(encoding="utf-8", errors="replace"))
    sys.stderr.write(f"{who}: {problem}\n{remedy}; the log is {log}\n")
    sys.exit(3)


if __name__ == "__main__":
    main()
