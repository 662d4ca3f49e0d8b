"""Remove the outs of stages that DVC's cache can give back; whoever changed one by hand keeps it."""

import hashlib
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def cached_outs(lock: str) -> list[tuple[Path, str]]:
    """Return path and MD5 of every file that a stage made, as dvc.lock tells; folders are none of ours to walk."""
    stages = (yaml.safe_load(lock) or {}).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return [(Path(out["path"]), out["md5"]) for out in outs if "md5" in out and not out["md5"].endswith(".dir")]


def main() -> None:
    """Remove them, then the folders that this left empty."""
    for path, md5 in cached_outs((ROOT / "dvc.lock").read_text(encoding="utf-8")):
        file = ROOT / path
        kept_by_dvc = ROOT / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        if not file.is_file() or not kept_by_dvc.is_file():
            continue
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "md5").hexdigest()
        if digest != md5:
            sys.stdout.write(f"kept:    {path}, which differs from what its stage wrote\n")
            continue
        file.unlink()
        for folder in file.parents:
            if folder == ROOT or any(folder.iterdir()):
                break
            folder.rmdir()


if __name__ == "__main__":
    main()
