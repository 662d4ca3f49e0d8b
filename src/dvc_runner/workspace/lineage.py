"""``LINEAGE_FILE``: what a stage may tell of where its results come from."""

import json

from dvc_runner.model import Environment, Stage

SCHEMA = 1


def text(
    stage: Stage,
    *,
    revision: tuple[str | None, str | None, bool | None],
    environment: Environment,
    executor: str,
) -> str:
    """Give the file's content: JSON; what is not known is null.

    Args:
        stage: The stage, its deps hashed.
        revision: Git's commit, branch, and whether the work tree differs from it.
        environment: What the stage's code runs in.
        executor: The executor's name.
    """
    commit, branch, dirty = revision
    return json.dumps(
        {
            "schema": SCHEMA,
            "stage": stage.address,
            "cmd": stage.cmd,
            "git_commit": commit,
            "git_branch": branch,
            "git_dirty": dirty,
            "executor": executor,
            "image": {"key": environment.key, "id": environment.id},
            "deps": {dep.path: dep.md5 for dep in stage.deps},
            "params": {file.path: json.loads(file.json_values) for file in stage.params},
        },
        indent=2,
    )
