"""dvc.lock, written by one writer while stages end in whatever order."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml
from dvc.utils.serialize._yaml import parse_yaml_for_update
from tests.support.cases import cases

from dvc_runner.workspace import dvc_lock, pace
from dvc_runner.workspace.dvc_lock import LockFiles, _LockFile, block_of
from dvc_runner.workspace.dvc_lock_journal import NAME, Journal

WORDS = ("x", "a: b", "#", "- 1", "two words é", "line\nand another\n\nthird", "1", "true", "'", '"', "x" * 200, "{a}")
NOTES = ("echo x # note", "a\n# b", "x y " * 19 + "# it's", "it's # a", "'tis # a", "#")


def entry(seed: int) -> dict[str, Any]:
    """Give what a stage's entry may hold, with values that YAML has to quote, fold or break."""
    chance = random.Random(seed)
    words = [chance.choice(WORDS) for _ in range(4)]
    found: dict[str, Any] = {"cmd": words[0] if chance.random() < 0.7 else words[:2]}
    if chance.random() < 0.7:
        found["deps"] = [{"path": words[1], "hash": "md5", "md5": "0" * 32, "size": 3}]
    if chance.random() < 0.7:
        found["params"] = {"params.yaml": {"a": [1, 2.5, None], words[2]: {"deep": words[3]}}}
    return {**found, "outs": [{"path": words[2], "hash": "md5", "md5": "1" * 32 + ".dir", "nfiles": 2}]}


def noted(seed: int) -> dict[str, Any]:
    """Give an entry with what would be a comment if it were not quoted."""
    chance = random.Random(seed)
    return {**entry(seed), "cmd": chance.choice([chance.choice(NOTES), list(NOTES)])}


def as_dvc_writes(text: str, entries: dict[str, dict[str, Any]]) -> str:
    """Give what DVC makes of a file when it takes entries one after the other."""
    for name, one in entries.items():
        data: dict[str, Any] = parse_yaml_for_update(text, "dvc.lock") if text else {"schema": "2.0"}
        data["stages"] = data.get("stages", {})
        data["stages"].update({name: one})
        text = dumps_yaml(data)
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path / "dvc.lock"


def writer(path: Path) -> _LockFile:
    return _LockFile(path, path.parent / "tmp")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("entry", [entry, noted])
def test_the_bytes_are_dvcs_whatever_the_order(path: Path, seed: int, entry: Callable[[int], Any]) -> None:
    chance = random.Random(seed)
    old = {f"old{n}": entry(seed + n) for n in range(3)}
    fresh = {f"new{n}@a-{n}": entry(seed + 10 + n) for n in range(4)}
    changed = {"old1": entry(seed + 20)}
    path.write_text(as_dvc_writes("", old))
    file = writer(path)
    puts = [*((name, one, rank) for rank, (name, one) in enumerate({**fresh, **changed}.items()))]
    chance.shuffle(puts)
    for name, one, rank in puts:
        assert file.put(block_of(name, one), rank)
        file.write(if_cheap=False)
        assert set(parse_yaml_for_update(path.read_text(), "")["stages"]) >= {name}
    assert path.read_text() == as_dvc_writes("", {**old, **fresh, **changed})


def test_the_same_again_changes_nothing(path: Path) -> None:
    path.write_text(as_dvc_writes("", {"a": entry(1)}))
    file = writer(path)
    before = path.stat()
    assert not file.put(block_of("a", entry(1)), 0)
    assert file.write(if_cheap=False) is None
    assert path.stat() == before


@cases(
    "old, new",
    {
        "before all": ["schema", "# mine\nschema"],
        "above a stage": ["  b:", "  # of b\n  b:"],
        "beside a stage": ["  b:", "  b:  # of b"],
        "beside a quoted text": ["'echo x # note'", "'echo x # note' # mine"],
        "above a quoted text": ["    cmd: 'echo x # note'", "    # mine\n    cmd: 'echo x # note'"],
        "above one that changes": ["  c:", "  # of c\n  c:"],
        "below one that changes": ["  z:", "  # of z\n  z:"],
        "after all": ["md5: z\n", "md5: z\n# the end\n"],
    },
)
def test_comments_stay_whatever_the_order(path: Path, old: str, new: str) -> None:
    whole = as_dvc_writes("", {"a": entry(1), "b": {"cmd": "echo x # note"}, "c": entry(6), "z": {"md5": "z"}})
    assert whole.count(old) == 1
    text = whole.replace(old, new)
    path.write_text(text)
    file = writer(path)
    fresh = {"c": entry(7), "d": entry(3), "e": noted(4), "f": entry(5)}
    for rank, (name, one) in reversed([*enumerate(fresh.items())]):
        assert file.put(block_of(name, one), rank)
        file.write(if_cheap=False)
    assert path.read_text() == as_dvc_writes(text, fresh)


def test_a_file_with_comments_is_not_read_again_for_each_stage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("# mine\n" + as_dvc_writes("", {"a": entry(1)}))
    file = writer(path)
    read = []

    def counted(text: str, path: Path) -> Any:
        read.append(text)
        return parse_yaml_for_update(text, path)

    monkeypatch.setattr(dvc_lock, "parse_yaml_for_update", counted)
    for n in range(20):
        file.put(block_of(f"s{n}", entry(n)), n)
    assert not read
    file.write(if_cheap=False)
    assert len(read) <= 2


def test_long_names_stay_whole(path: Path) -> None:
    entries = {f"{letter}@{'x' * 140}": entry(n) for n, letter in enumerate("ab")}
    path.write_text(as_dvc_writes("", entries))
    file = writer(path)
    for rank, name in enumerate(entries):
        file.put(block_of(name, entry(9 + rank)), rank)
        file.write(if_cheap=False)
        entries[name] = entry(9 + rank)
        assert path.read_text() == as_dvc_writes("", entries)


def test_what_stands_after_the_stages_stays(path: Path) -> None:
    text = as_dvc_writes("", {"a": entry(1)}) + "datasets:\n- name: d\n  url: x\n"
    path.write_text(text)
    file = writer(path)
    file.put(block_of("b", entry(2)), 0)
    file.write(if_cheap=False)
    assert path.read_text() == as_dvc_writes(text, {"b": entry(2)})


def test_what_another_command_wrote_meanwhile_stays(path: Path) -> None:
    path.write_text(as_dvc_writes("", {"a": entry(1)}))
    file = writer(path)
    file.put(block_of("b", entry(2)), 0)
    path.write_text(as_dvc_writes("", {"a": entry(4), "other": entry(5)}))
    file.write(if_cheap=False)
    assert path.read_text() == as_dvc_writes("", {"a": entry(4), "other": entry(5), "b": entry(2)})


def test_writes_take_a_small_part_of_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dvc_runner.workspace.pace.time.monotonic", lambda: now[0])
    writes = []

    def slowly(*_: object) -> None:
        writes.append(now[0])
        now[0] += 1

    monkeypatch.setattr(dvc_lock, "replace", slowly)
    file = writer(path)
    for n in range(100):
        file.put(block_of(f"s{n}", entry(n)), n)
        left = file.write(if_cheap=True)
        assert (left is None) == (writes[-1] + 1 == now[0])
        now[0] += 0.5
    assert len(writes) <= 100 * 0.5 / pace.REST + 1
    file.put(block_of("last", entry(0)), 200)
    assert file.write(if_cheap=False) is None
    assert writes[-1] == now[0] - 1


NOW = {"a": entry(1), "b": entry(2)}


def held_back(path: Path, names: str, before: dict[str, Any]) -> Journal:
    """Give the journal of a run that ended stages with an out each, and wrote none."""
    path.with_name("dvc.yaml").write_text("")
    journal = Journal(path.parent / "tmp")
    for rank, name in reversed([*enumerate(names)]):
        path.with_name(name).write_text("out")
        old = block_of(name, before[name]) if name in before else None
        journal.add(path, block_of(name, entry(ord(name))), rank, old, [str(path.with_name(name))])
    return journal


def a_kill(path: Path, names: str, before: dict[str, Any]) -> None:
    """Leave that journal to nobody."""
    file = held_back(path, names, before)._file
    assert file
    file.close()


@pytest.fixture
def replayed(path: Path) -> Callable[[], str]:
    """Starts again after a kill; gives dvc.lock."""

    def start() -> str:
        LockFiles(path.parent / "tmp").replay()
        assert [*(path.parent / "tmp").iterdir()] == []
        return path.read_text()

    return start


@cases(
    "text",
    {
        "without a dvc.lock": [""],
        "with one": [as_dvc_writes("", NOW)],
        "with comments": ["# x\n" + as_dvc_writes("", NOW)],
    },
)
def test_what_a_kill_held_back_is_written_at_the_next_start(path: Path, replayed: Callable[[], str], text: str) -> None:
    if text:
        path.write_text(text)
    a_kill(path, "bcd", NOW if text else {})
    assert replayed() == as_dvc_writes(text, {name: entry(ord(name)) for name in "bcd"})


def test_an_entry_that_was_written_since_stays(path: Path, replayed: Callable[[], str]) -> None:
    path.write_text(as_dvc_writes("", NOW))
    a_kill(path, "abc", NOW)
    path.write_text(as_dvc_writes("", {**NOW, "b": entry(8), "c": entry(9)}))
    assert replayed() == as_dvc_writes("", {"a": entry(ord("a")), "b": entry(8), "c": entry(9)})


def test_an_entry_of_outs_that_were_touched_since_is_dropped(path: Path, replayed: Callable[[], str]) -> None:
    path.write_text(as_dvc_writes("", NOW))
    a_kill(path, "bcde", NOW)
    path.with_name("b").write_text("another")
    path.with_name("c").unlink()
    path.with_name("in the cache").hardlink_to(path.with_name("d"))
    assert replayed() == as_dvc_writes("", {**NOW, "d": entry(ord("d")), "e": entry(ord("e"))})


def test_a_note_that_was_cut_off_is_none(path: Path, replayed: Callable[[], str]) -> None:
    path.write_text(as_dvc_writes("", NOW))
    a_kill(path, "bc", NOW)
    journal = path.parent / "tmp" / NAME
    journal.write_text(journal.read_text()[:-10])
    assert replayed() == as_dvc_writes("", {**NOW, "c": entry(ord("c"))})


def test_what_a_run_at_work_holds_back_is_left_to_it(path: Path) -> None:
    journal = held_back(path, "a", {})
    LockFiles(path.parent / "tmp").replay()
    assert not path.exists()
    journal.clear()
    assert [*(path.parent / "tmp").iterdir()] == []


def test_where_the_pipeline_is_gone_nothing_is_written(path: Path) -> None:
    a_kill(path, "a", {})
    path.with_name("dvc.yaml").unlink()
    LockFiles(path.parent / "tmp").replay()
    assert not path.exists()
