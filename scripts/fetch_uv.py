"""Put the locked uv into a folder, without pip.

fetch_uv.py FOLDER, started in the folder of uv.lock.
"""

import hashlib
import io
import platform
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path


def locked_wheel(lock: str, *, system: str, machine: str, libc: str) -> tuple[str, str]:
    """Find the wheel of uv that runs on a machine.

    Returns:
        Its URL and its SHA-256, in hexadecimal.

    Raises:
        LookupError: uv publishes no wheel for this machine.
    """
    family = {"Linux": "manylinux" if libc == "glibc" else "musllinux", "Darwin": "macosx"}.get(system, system)
    packages = tomllib.loads(lock)["package"]
    wheels = next(package["wheels"] for package in packages if package["name"] == "uv")
    for wheel in wheels:
        name = wheel["url"].rsplit("/", 1)[1]
        if family in name and name.endswith(f"_{machine}.whl"):
            return wheel["url"], wheel["hash"].removeprefix("sha256:")
    raise LookupError(f"uv has no wheel for {system} {machine} {libc}")


def main() -> None:
    """Fetch, check and unpack."""
    folder = Path(sys.argv[1])
    url, sha256 = locked_wheel(
        Path("uv.lock").read_text(encoding="utf-8"),
        system=platform.system(),
        machine=platform.machine(),
        libc=platform.libc_ver()[0],
    )
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the URL is uv.lock's
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != sha256:
        sys.exit(f"{url} is not what uv.lock names (SHA-256 {sha256})")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        program = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
        target = folder / "uv"
        target.write_bytes(archive.read(program))
    target.chmod(0o755)


if __name__ == "__main__":
    main()
