"""Our frozen values, with what a test does not care about filled in."""

from collections.abc import Sequence

from dvc_runner.model import Container, Dep, Out, ParamsFile, Stage


def a_stage(
    address: str = "one",
    *,
    deps: Sequence[str] = (),
    outs: Sequence[str | Out] = (),
    params: Sequence[ParamsFile] = (),
    container: Container | None = None,
    wdir: str = ".",
) -> Stage:
    """A stage of ours that runs ``true``."""
    return Stage(
        address=address,
        wdir=wdir,
        cmd="dvc-runner exec true",
        argv=("true",),
        deps=tuple(Dep(path=path) for path in deps),
        outs=tuple(out if isinstance(out, Out) else Out(path=out) for out in outs),
        params=tuple(params),
        container=container,
    )
