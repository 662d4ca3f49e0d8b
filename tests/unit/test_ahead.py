"""Which stages of a plan will run."""

from collections.abc import Mapping

from tests.support.cases import cases

from dvc_runner.pipeline.ahead import likely

UPSTREAM = {"a": (), "b": ("a",), "c": ("b",), "d": (), "e": ("c", "d")}


@cases(
    "first, changed, expected",
    {
        "all that follows": ("a", "", "bce"),
        "what follows alone": ("c", "", "e"),
        "nothing follows": ("e", "", ""),
        "one that changed itself": ("b", "d", "cde"),
        "one that changed, and what follows it": ("e", "", ""),
        "beside it": ("d", "", "e"),
        "beside it, changed": ("d", "b", "e"),
    },
)
def test_likely(first: str, changed: str, expected: str) -> None:
    asked = []

    def is_changed(address: str) -> bool:
        asked.append(address)
        return address in changed

    later = "abcde"["abcde".index(first) + 1 :]
    assert "".join(likely(first, later, upstream=UPSTREAM.__getitem__, changed=is_changed)) == expected
    assert not downstream(first, UPSTREAM) & {*asked}, "what follows a stage that runs is not asked"


def downstream(first: str, upstream: Mapping[str, tuple[str, ...]]) -> set[str]:
    found = {first}
    for address, others in upstream.items():
        if found & {*others}:
            found.add(address)
    return found - {first}
