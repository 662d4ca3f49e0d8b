"""Remove the outs of stages that DVC's cache can give back; one that was changed by hand stays."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def cached_outs(lock: dict[str, Any], stages: dict[str, Any]) -> list[tuple[str, str]]:
    """Return path and MD5 of the files that stages made and DVC keeps.

    Args:
        lock: What dvc.lock holds.
        stages: What dvc.yaml holds; outs with ``cache: false``, such as metrics, are git's to keep.
    """
    entries = [
        entry
        for stage in stages.get("stages", {}).values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get(kind, [])
    ]
    gits = {
        path
        for entry in entries
        if isinstance(entry, dict)
        for path, options in entry.items()
        if options.get("cache") is False
    }
    outs = [out for stage in lock.get("stages", {}).values() for out in stage.get("outs", [])]
    # An out that is a folder has an MD5 that ends in .dir.
    return [
        (out["path"], out["md5"])
        for out in outs
        if out["path"] not in gits and not out.get("md5", ".dir").endswith(".dir")
    ]


def main() -> None:
    """Remove them, then the folders that this left empty."""
    lock, stages = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("dvc.lock", "dvc.yaml"))
    for path, md5 in cached_outs(lock, stages):
        file = ROOT / path
        kept_by_dvc = ROOT / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        if not file.is_file() or not kept_by_dvc.is_file():
            continue
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "md5").hexdigest()
        if found != md5:
            sys.stdout.write(f"kept:    {path}, which differs from what its stage wrote\n")
            continue
        file.unlink()
        for folder in file.parents:
            if folder == ROOT or any(folder.iterdir()):
                break
            folder.rmdir()


if __name__ == "__main__":
    main()
