"""What every executor promises (``executors/base.py``): one suite, run on each of them."""

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.attempts import attempted
from tests.support.cases import cases
from tests.support.trees import lay, tree
from tests.support.ways import LIMIT_S, STAGE, Way, all_gone, once, tracking, with_mark

from dvc_runner.errors import BuildError, EngineError
from dvc_runner.executors import walls
from dvc_runner.model import Ending, Limits, ParamsFile, Sandbox

LINES = 20_000
SHOWN_AT_ONCE = 8192


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A port of this machine's loopback that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.engine)])
def way(request: pytest.FixtureRequest) -> Way:
    """Each executor at work."""
    found: Way = request.getfixturevalue({"process": "processes", "docker": "lab"}[request.param])
    return found


@pytest.fixture
def walled(way: Way) -> Way:
    """Each executor at work, where it has walls."""
    if way.name == "process" and not walls.here().tcp:
        pytest.skip("this kernel walls no process off")
    return way


@pytest.fixture(autouse=True)
def nothing_left(way: Way, request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a scratch folder or a container behind."""
    engine = request.getfixturevalue("containers") if way.name == "docker" else None
    yield
    scratch = way.root / ".dvc/tmp/dvc-runner/scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []
    assert engine is None or engine.none_left(), engine.ours()


# prepare, 1: named by the hash of what it is made from


def test_prepare_gives_what_is_there(way: Way) -> None:
    lines: list[str] = []
    assert way.executor.prepare(STAGE, lines.append) == way.environment
    assert lines == []
    assert way.environment.key in way.environment.reference


@pytest.fixture
def folder(way: Way) -> Iterator[Path]:
    """The stage's folder, put back in the end."""
    path = way.root / "stages/lab"
    shutil.copytree(path, path.with_name("kept"))
    yield path
    shutil.rmtree(path)
    path.with_name("kept").rename(path)


def test_prepare_makes_another_when_its_input_changes(way: Way, folder: Path) -> None:
    (folder / "requirements.txt").write_text("# another\n")
    lines: list[str] = []
    other = way.executor.prepare(STAGE, lines.append)
    assert other.key != way.environment.key
    assert other.reference != way.environment.reference
    # prepare, 2: hand over the words of whatever makes it
    assert any(other.key in line for line in lines)


# prepare, 3: BuildError with the last words


def test_prepare_that_fails_says_the_last_words_each_time(way: Way, folder: Path) -> None:
    (folder / "requirements.txt").write_text(f"broken @ file:///no-such-package.tar.gz --hash=sha256:{'0' * 64}\n")
    (folder / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo no-such-''package; exit 3\n")
    for _ in range(2):
        with pytest.raises(BuildError, match="no-such-package") as raised:
            way.executor.prepare(STAGE, lambda _: None)
        assert raised.value.remedy


def test_prepare_twice_at_once_makes_it_whole(way: Way, folder: Path) -> None:
    (folder / "requirements.txt").write_text("# made by several at once\n")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: way.executor.prepare(STAGE, lambda _: None), range(4)))
    assert len({one.reference for one in found}) == 1
    assert way.run(["python3", "-c", "print('whole')"], environment=found[0]).lines == ["whole"]


# execute, 1: start it exactly as spec says, or raise EngineError


@cases(
    "words",
    {
        "none": [[]],
        "spaces and quotes": [["a b", "it's", '"x"', ""]],
        "what a shell would expand": [["$HOME", "`id`", "*", "~", "a;b", "\\n", "!x"]],
        "lines and tabs": [["a\nb", "\t"]],
        "accents": [["é", "日本"]],
        "like options": [["--help", "-c", "--"]],
        "long": [["x" * 100_000]],
    },
)
def test_command_arrives_word_by_word(way: Way, words: list[str]) -> None:
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    assert way.run(["python3", "-c", code, *words]).said == words


def test_environment_holds_what_it_should(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_RUNNER", "1")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    env = way.python(code, env=(("DVC_STAGE", "lab"), ("SPACED", "a b\n'é'"))).said
    assert env["DVC_STAGE"] == "lab"
    assert env["SPACED"] == "a b\n'é'"
    assert "A_SECRET_OF_THE_RUNNER" not in env
    assert {"DVC_STAGE", "DVC_ROOT", "LINEAGE_FILE", "HOME", "USER", "PATH"} <= set(env)


@cases("wdir", {"the root": ["."], "a folder": ["sub/deeper é"]})
def test_working_folder(way: Way, wdir: str) -> None:
    code = "import os, json; print(json.dumps(os.path.relpath(os.getcwd(), os.environ['DVC_ROOT'])))"
    assert way.python(code, wdir=wdir).said == wdir


def test_code_of_the_stage_is_on_its_path(way: Way) -> None:
    assert way.run(["python3", "-m", "lab"]).lines == ["lab"]


SEEN = """
import json, os
found = {}
for folder, _, names in os.walk('.', followlinks=True):
    for name in names:
        path = os.path.relpath(os.path.join(folder, name))
        found[path] = open(path).read() if not path.startswith('stages') else ''
print(json.dumps(found))
"""
PARAMS = ParamsFile(path="params.yaml", text="n: 1\n", json_values="{}")


def test_stage_sees_its_deps_and_params_and_nothing_else(way: Way) -> None:
    seen = way.python(SEEN, deps=["data/raw.csv", "data/deep/x y.csv"], params=[PARAMS]).said
    assert {path: text for path, text in seen.items() if not path.startswith("stages")} == {
        "data/raw.csv": "raw",
        "data/deep/x y.csv": "x",
        "params.yaml": "n: 1\n",
    }


UNDECLARED = ("undeclared.csv", ".env", "data/other.csv", "data", ".")
TRY_TO_READ = """
import json, os, sys
found = {}
for path in sys.argv[1:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path)
    except OSError as error:
        found[path] = [type(error).__name__, error.filename]
print(json.dumps(found))
"""


def read_what_is_undeclared(way: Way, paths: list[str]) -> None:
    """Insist on an error that names the path as the stage had it."""
    lay(way.root, {"data": {"other.csv": "no"}})
    found = way.run(["python3", "-c", TRY_TO_READ, *paths], deps=["data/raw.csv"]).said
    assert {path: name for path, (_, name) in found.items()} == {path: path for path in paths}
    assert {kind for kind, _ in found.values()} <= {"PermissionError", "FileNotFoundError"}


def test_what_is_undeclared_cannot_be_read_by_its_name(way: Way) -> None:
    read_what_is_undeclared(way, [path for path in UNDECLARED if not (way.root / path).is_dir()])


def test_what_is_undeclared_cannot_be_read_where_it_lies(walled: Way) -> None:
    read_what_is_undeclared(walled, [str(walled.root / path) for path in UNDECLARED])


def test_a_dep_stays_as_it_is(walled: Way) -> None:
    acts = {
        "write": "write('data/raw.csv')",
        "add": "write('data/raw.csv', 'a')",
        "empty": "os.truncate('data/raw.csv', 0)",
        "write beside": "write('data/deep/new')",
        "change its code": "write('stages/lab/lab.py')",
        "change its lineage": "write(os.environ['LINEAGE_FILE'])",
    }
    found = attempted(walled, acts, deps=["data/raw.csv", "data/deep"])
    assert [name for name, (kind, _) in found.items() if not kind.endswith("Error")] == []
    assert tree(walled.root / "data") == {"raw.csv": "raw", "deep": {"x y.csv": "x"}, "other.csv": "no"}


def test_no_connection_by_default(walled: Way) -> None:
    with listening() as port:
        acts = {host: f"connect({host!r}, {port})" for host in ("127.0.0.1", "192.0.2.1")}
        found = attempted(walled, acts)
    assert {kind for kind, _ in found.values()} <= {"PermissionError", "OSError", "ConnectionRefusedError"}


def test_tracking_connects_to_the_one_server(walled: Way) -> None:
    with listening() as port, listening() as other:
        acts = {"the server": f"connect('127.0.0.1', {port})", "another": f"connect('127.0.0.1', {other})"}
        found = attempted(walled, acts, **tracking(port))
    assert found["the server"][0] == "done"
    assert found["another"][0].endswith("Error")


def test_what_it_writes_stays_in_the_sandbox(way: Way) -> None:
    code = "import os; os.makedirs('models'); open('models/a', 'w').write('new'); open('stray', 'w').write('x')"
    left = way.python(code, outs=["models"]).left
    assert left["models"] == {"a": "new"}
    assert left["stray"] == "x"
    assert not (way.root / "models").exists()


def test_input_is_empty(way: Way) -> None:
    assert way.python("import sys; print(repr(sys.stdin.read()))").lines == ["''"]


@cases(
    "argv",
    {
        "a program that does not exist": [["no-such-program"]],
        "a path that does not exist": [["/nonexistent/program", "x"]],
        "a file that is no program": [["/etc/passwd"]],
        "a folder": [["/usr"]],
        "an empty name": [[""]],
    },
)
def test_what_cannot_be_started_is_an_engine_error_with_its_name(way: Way, argv: list[str]) -> None:
    with pytest.raises(EngineError) as raised:
        way.run(argv)
    assert argv[0] in str(raised.value)
    assert raised.value.remedy


# execute, 2: hand over each output line as it arrives, without its newline


def test_lines_come_as_they_are_said(way: Way) -> None:
    code = """
import os, sys, time
print('first', flush=True)
while not os.path.exists('go on'):
    time.sleep(0.02)
print('second')
"""
    ran = way.python(code, on_line=once("first", lambda scratch: (scratch.workspace / "go on").touch()))
    assert ran.ended.ending is Ending.EXITED
    assert ran.lines == ["first", "second"]


@cases(
    "code, lines",
    {
        "nothing": ("pass", []),
        "one": ("print('a')", ["a"]),
        "empty ones": ("print('\\na\\n')", ["", "a", ""]),
        "no line end at the end": ("print('a\\nb', end='')", ["a", "b"]),
        "Windows' line ends": ("print('a\\r\\nb\\r')", ["a", "b"]),
        "accents": ("print('é日本')", ["é日本"]),
        "spaces are kept": ("print('  a  ')", ["  a  "]),
        "not UTF-8": ("import os; os.write(1, b'a\\xffb\\n')", ["a\ufffdb"]),
        "zeros": ("import os; os.write(1, b'a\\0b\\n')", ["a\0b"]),
        "standard error": ("import os; os.write(2, b'a\\n')", ["a"]),
        "both": ("import os; [os.write(1 + n % 2, b'%d\\n' % (n // 2)) for n in range(1, 5)]", ["0", "1", "1", "2"]),
        "as long as is shown at once": (f"print('x' * {SHOWN_AT_ONCE}); print('y')", ["x" * SHOWN_AT_ONCE, "y"]),
    },
)
def test_lines(way: Way, code: str, lines: list[str]) -> None:
    found = way.python(code).lines
    assert sorted(found) == sorted(lines) if "[" in code else found == lines


@cases(
    "code, text",
    {
        "of letters": ("'x' * 10**6", "x" * 10**6),
        "of characters that take several bytes": ("'a' + 'é日' * 10**5", "a" + "é日" * 10**5),
    },
)
def test_an_over_long_line_is_cut_and_nothing_lost(way: Way, code: str, text: str) -> None:
    lines = way.python(f"print({code}); print('end')").lines
    assert lines[-1] == "end"
    assert max(map(len, lines)) <= SHOWN_AT_ONCE
    assert "".join(lines[:-1]) == text


def test_a_flood_of_lines_arrives_in_order(way: Way) -> None:
    lines = way.python(f"for n in range({LINES}): print(n)").lines
    assert lines == [str(n) for n in range(LINES)]


# execute, 3: leave nothing running, also on KeyboardInterrupt


@cases("error", {"Ctrl-C": [KeyboardInterrupt], "a disk that is full": [OSError]})
def test_nothing_runs_after_an_error(way: Way, error: type[BaseException]) -> None:
    mark = f"{way.name}-{error.__name__}-{os.getpid()}"

    def fail(scratch: Sandbox) -> None:
        del scratch
        assert with_mark(mark)
        raise error

    code = f"print('begun', flush=True); import time; time.sleep({LIMIT_S})"
    with pytest.raises(error):
        way.python(code, on_line=once("begun", fail), env=(("MARK", mark),))
    assert all_gone(mark)


@cases(
    "behaviour",
    {
        "floods its output": ["while True: os.write(1, b'x' * 99 + b'\\n')"],
        "closes its output": ["[os.close(n) for n in range(3)]"],
        "starts children without end": ["signal.signal(17, signal.SIG_IGN)\nwhile True: os.fork() or os._exit(0)"],
    },
)
def test_a_timeout_ends_whatever_it_does(way: Way, behaviour: str) -> None:
    mark = f"{way.name}-{len(behaviour)}-{os.getpid()}"
    code = f"import os, signal, time\n{behaviour}\ntime.sleep({LIMIT_S})"
    ended = way.python(code, env=(("MARK", mark),), limits=Limits(timeout_s=1)).ended
    assert ended.ending is Ending.TIMED_OUT
    assert all_gone(mark)


RUN_AWAY = """
import os, time
if os.fork() == 0:
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()
time.sleep(0.2)
print('done')
"""


def test_a_child_that_runs_from_parent_to_parent_is_caught(way: Way) -> None:
    mark = f"{way.name}-away-{os.getpid()}"
    assert way.python(RUN_AWAY, env=(("MARK", mark),)).lines == ["done"]
    assert all_gone(mark)


def test_output_that_is_closed_is_no_end(way: Way) -> None:
    code = "import os, time; print('a', flush=True); os.close(1); os.close(2); time.sleep(1); os._exit(3)"
    ran = way.python(code)
    assert ran.lines == ["a"]
    assert (ran.ended.code, ran.ended.ending) == (3, Ending.EXITED)


LEAVE_BEHIND = """
import os, signal, sys, time
read, write = os.pipe()
if os.fork() == 0:
    {detach}
    os.write(write, b'x')
    time.sleep(30)
os.read(read, 1)
print('done')
"""
SILENT = "[os.dup2(os.open(os.devnull, os.O_RDWR), n) for n in range(3)]"


DAEMON = f"os.setsid(); os.fork() and os._exit(0); {SILENT}"


@cases(
    "detach",
    {
        "a child": ["pass"],
        "a child that is silent": [SILENT],
        "a session of its own": ["os.setsid()"],
        "a daemon": [DAEMON],
        "one that ignores signals": ["[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]"],
    },
)
def test_what_a_stage_leaves_behind_ends_with_it(way: Way, detach: str) -> None:
    mark = f"{way.name}-{len(detach)}-{os.getpid()}"
    try:
        ran = way.python(LEAVE_BEHIND.format(detach=detach), env=(("MARK", mark),))
        assert ran.lines == ["done"]
        assert ran.ended.code == 0
        assert all_gone(mark)
    finally:
        for pid in with_mark(mark):
            os.kill(pid, signal.SIGKILL)


def test_a_child_that_left_the_group_does_not_hold_the_stage_up(way: Way) -> None:
    mark = f"{way.name}-held-{os.getpid()}"
    try:
        ran = way.python(LEAVE_BEHIND.format(detach="os.setsid()").replace("30", "600"), env=(("MARK", mark),))
        assert ran.lines == ["done"]
        assert ran.ended.code == 0
    finally:
        for pid in with_mark(mark):
            os.kill(pid, signal.SIGKILL)


# execute, 4: end it after spec.timeout_s


def test_a_timeout_ends_it(way: Way) -> None:
    ran = way.python(f"import time; print('a', flush=True); time.sleep({LIMIT_S})", limits=Limits(timeout_s=1))
    assert ran.ended.ending is Ending.TIMED_OUT
    assert 1 <= ran.ended.seconds < 5
    assert ran.lines in (["a"], [])


def test_a_timeout_ends_what_does_not_listen(way: Way) -> None:
    code = f"""
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))
for _ in range({LIMIT_S}):
    time.sleep(1)
"""
    ran = way.python(code, limits=Limits(timeout_s=1.5))
    assert ran.ended.ending is Ending.TIMED_OUT
    assert ran.ended.seconds < 15
    assert ran.lines == ["no"]


def test_a_timeout_is_no_end_to_what_is_quicker(way: Way) -> None:
    ended = way.python("print('a')", limits=Limits(timeout_s=LIMIT_S)).ended
    assert (ended.ending, ended.code) == (Ending.EXITED, 0)


# execute, 5: never call what was lost a success


def test_what_is_killed_from_outside_is_told_so(way: Way) -> None:
    mark = f"{way.name}-killed-{os.getpid()}"

    def kill(scratch: Sandbox) -> None:
        del scratch
        for pid in with_mark(mark):
            os.kill(pid, signal.SIGKILL)

    if os.geteuid() != 0 and way.name == "docker":
        pytest.skip("only root may kill what a container runs")
    code = f"print('begun', flush=True); import time; time.sleep({LIMIT_S})"
    ended = way.python(code, on_line=once("begun", kill), env=(("MARK", mark),)).ended
    assert ended.ending is Ending.KILLED
    assert ended.code != 0


@cases(
    "code, expected",
    {
        "none": ("pass", 0),
        "one": ("raise SystemExit(1)", 1),
        "another": ("raise SystemExit(42)", 42),
        "the highest": ("raise SystemExit(255)", 255),
        "an exception": ("1 / 0", 1),
        "a signal": ("import os; os.kill(os.getpid(), 15)", 143),
        "a crash": ("import os; os.kill(os.getpid(), 11)", 139),
    },
)
def test_exit_code_is_passed_on(way: Way, code: str, expected: int) -> None:
    ended = way.python(code).ended
    assert (ended.code, ended.ending) == (expected, Ending.EXITED)
    assert ended.seconds > 0


# what a stage's environment promises (DESIGN.md, "What a stage sees")

PLACES = """
import getpass, json, multiprocessing, os, pathlib, tempfile
lineage = os.environ['LINEAGE_FILE']
home = pathlib.Path.home()
(home / '.cache' / 'x').mkdir(parents=True)
(home / '.cache' / 'x' / 'y').write_text('1')
with tempfile.TemporaryDirectory() as temporary:
    pathlib.Path(temporary, 'x').write_text('1')
with multiprocessing.Lock():
    pass
print(json.dumps({
    'stage': os.environ['DVC_STAGE'],
    'root': os.path.samefile(os.environ['DVC_ROOT'], '.'),
    'lineage': json.load(open(lineage)),
    'user': getpass.getuser(),
    'home': str(home) == os.environ['HOME'] and os.path.isdir(home),
    'temporary': not os.path.samefile(tempfile.gettempdir(), '.'),
    'left': sorted(os.listdir('.')),
}))
"""


def test_places_and_names_that_libraries_expect(way: Way) -> None:
    assert way.python(PLACES).said == {
        "stage": "lab",
        "root": True,
        "lineage": {"stage": "lab"},
        "user": "stage",
        "home": True,
        "temporary": True,
        "left": ["stages"],
    }


def test_two_runs_share_no_home(way: Way) -> None:
    code = "import pathlib; path = pathlib.Path.home() / 'seen'; print(path.exists()); path.touch()"
    assert [way.python(code).lines for _ in range(2)] == [["False"], ["False"]]
