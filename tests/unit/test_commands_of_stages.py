"""Which commands are ours to run, and which are for a shell."""

import shlex
import subprocess

from hypothesis import given
from hypothesis import strategies as st
from tests.support.cases import cases

from dvc_runner.workspace.dvc_stage import argv_of


@cases(
    "cmd, argv",
    {
        "what is quoted": (
            "dvc-runner exec sh -c 'echo $x > y; ls *' \"a > [b]\"",
            ("sh", "-c", "echo $x > y; ls *", "a > [b]"),
        ),
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
        "variable in quotes": ('dvc-runner exec echo "$HOME"', None),
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


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.lists(words, min_size=1).filter(lambda found: not found[0].startswith("-")))
def test_quoted_words_arrive_as_they_are(found: list[str]) -> None:
    assert argv_of("dvc-runner exec " + shlex.join(found)) == tuple(found)


@given(st.text("""'" ab\t\r\n;&|<>()$`*?[]{}~#!\\é""", max_size=12))
def test_any_text_is_as_a_shell_reads_it_or_for_a_shell(rest: str) -> None:
    argv = argv_of("dvc-runner exec " + rest)
    if argv is not None:
        command = ["/bin/sh", "-c", f"printf '%s\\0' {rest}"]
        printed = subprocess.run(command, env={"PATH": ""}, capture_output=True, check=True).stdout
        assert tuple(printed.decode().split("\0")[:-1]) == argv
