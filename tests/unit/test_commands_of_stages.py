"""Which commands are ours to run, and which are for a shell."""

import shlex

from hypothesis import given
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.workspace.dvc_stage import argv_of

SHELL = set(";&|<>()$`*?[]{}~#!\n\\")


@cases(
    "cmd, argv",
    {
        "a program": ("dvc-runner exec python -m train", ("python", "-m", "train")),
        "quoted words": ("dvc-runner exec echo 'two words' \"a 'b'\"", ("echo", "two words", "a 'b'")),
        "an empty word": ("dvc-runner exec echo ''", ("echo", "")),
        "wide spaces": ("  dvc-runner   exec\tls ", ("ls",)),
        "accents": ("dvc-runner exec cat éàü.csv", ("cat", "éàü.csv")),
        "options of the program": ("dvc-runner exec python --version", ("python", "--version")),
        "the program alone": ("dvc-runner exec", None),
        "nothing": ("", None),
        "a command for a shell": ("python -m train", None),
        "another command of ours": ("dvc-runner run", None),
        "a name that begins like ours": ("dvc-runner-x exec ls", None),
        "a path to ours": ("/opt/bin/dvc-runner exec ls", None),
        "a variable before it": ("A=1 dvc-runner exec ls", None),
        "an option of ours": ("dvc-runner exec --executor process ls", None),
        "a list": (["dvc-runner exec a", "dvc-runner exec b"], None),
        "no command": (None, None),
        "variable": ("dvc-runner exec echo $HOME", None),
        "pipe": ("dvc-runner exec a | tee b", None),
        "redirection": ("dvc-runner exec a > b", None),
        "two commands": ("dvc-runner exec a && b", None),
        "in the background": ("dvc-runner exec a &", None),
        "wildcard": ("dvc-runner exec ls *.csv", None),
        "home": ("dvc-runner exec ls ~", None),
        "two lines": ("dvc-runner exec a\nb", None),
        "comment": ("dvc-runner exec a # b", None),
        "backslash": ("dvc-runner exec a\\ b", None),
        "a quote that is not closed": ("dvc-runner exec echo 'a", None),
        "an apostrophe": ("dvc-runner exec echo it's", None),
    },
)
def test_argv(cmd: object, argv: tuple[str, ...] | None) -> None:
    assert argv_of(cmd) == argv


words = st.text(st.characters(exclude_characters=SHELL, exclude_categories=("Cs", "Cc")))


@given(st.lists(words, min_size=1).filter(lambda found: not found[0].startswith("-")))
def test_quoted_words_arrive_as_they_are(found: list[str]) -> None:
    assert argv_of("dvc-runner exec " + shlex.join(found)) == tuple(found)


@given(st.text())
def test_any_text_is_ours_or_a_shells(rest: str) -> None:
    argv = argv_of("dvc-runner exec " + rest)
    assert argv is None or not SHELL & set(rest)
