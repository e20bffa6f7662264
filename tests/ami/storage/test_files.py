"""Files: writes are atomic under faults and concurrency; reads of untrusted files are safe."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ami.errors import SettingError
from ami.storage.files import FileKind, check_file, check_folder, write_atomically, write_json

OLD, NEW = b"old " * 50_000, b"new!" * 70_000


def fails(*_: object) -> None:
    raise OSError("no space left on device")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_bytes_and_text_are_written_and_folders_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "weights", OLD)
    assert (tmp_path / "a" / "b" / "weights").read_bytes() == OLD
    write_atomically(tmp_path / "note", "vier Zeichen: äöü→")
    assert (tmp_path / "note").read_text(encoding="utf-8") == "vier Zeichen: äöü→"


def test_the_new_content_replaces_the_old_and_no_temporary_stays(tmp_path: Path) -> None:
    for content in (OLD, NEW, b""):
        write_atomically(tmp_path / "weights", content)
        assert (tmp_path / "weights").read_bytes() == content
    assert names(tmp_path) == ["weights"]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_an_error_during_a_write_leaves_the_old_file_and_no_temporary(
        step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "weights", OLD)
    monkeypatch.setattr(step, fails)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(tmp_path / "weights", NEW)
    assert names(tmp_path) == ["weights"]
    assert (tmp_path / "weights").read_bytes() == OLD


def test_an_error_at_the_first_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(tmp_path / "weights", NEW)
    assert names(tmp_path) == []


def test_a_full_disk_is_reported_with_the_files_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write to an open file: without a name

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as refused:
        write_atomically(tmp_path / "a.json", "{}")
    assert refused.value.filename == str(tmp_path / "a.json") and not list(tmp_path.iterdir())


def test_content_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file)))
    monkeypatch.setattr(Path, "replace", lambda one, other: (done.append("rename"), replace(one, other)))
    write_atomically(tmp_path / "weights", NEW)
    assert done == ["fsync", "rename", "fsync"]


def test_a_leftover_temporary_file_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / ".weights.1.tmp").write_bytes(b"half")
    write_atomically(tmp_path / "weights", NEW)
    assert (tmp_path / "weights").read_bytes() == NEW


def in_threads(*tasks: Callable[[], None]) -> None:
    """Run tasks in parallel threads; raise their first error."""
    errors: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[task]) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_a_reader_sees_the_old_content_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_atomically(path, OLD)
    finished = threading.Event()
    seen: list[bool] = []

    def write() -> None:
        try:
            for content in [NEW, OLD] * 10:
                write_atomically(path, content)
        finally:
            finished.set()

    def read() -> None:
        while not finished.is_set():
            seen.append(path.read_bytes() in (OLD, NEW))

    in_threads(write, read, read)
    assert seen and all(seen)


def test_two_writers_of_one_process_do_not_mix_their_contents(tmp_path: Path) -> None:
    path = tmp_path / "weights"

    def write(content: bytes) -> None:
        for _ in range(10):
            write_atomically(path, content)

    in_threads(partial(write, OLD), partial(write, NEW))
    assert path.read_bytes() in (OLD, NEW)
    assert names(tmp_path) == ["weights"]


def test_json_is_indented_and_ends_with_a_line_break(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"agent": {"n": 3}})
    assert (tmp_path / "summary.json").read_text() == '{\n  "agent": {\n    "n": 3\n  }\n}\n'
    assert json.loads((tmp_path / "summary.json").read_text()) == {"agent": {"n": 3}}


def test_content_that_is_not_json_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "summary.json", {"now": object()})
    assert json.loads((tmp_path / "summary.json").read_text()) == [1]


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", "store")
    (tmp_path / "taken").touch()
    with pytest.raises(SettingError, match=r"store is '.*taken/x', but '.*taken' is a file: expected a folder to write in"):
        check_folder(tmp_path / "taken" / "x", "store")
    assert {path.name for path in tmp_path.iterdir()} == {"taken"}, "the tried folders are removed"


@pytest.mark.parametrize(("folder", "why"), [
    ("/proc/x", "No such file or directory"), ("x" * 256, "File name too long"), ("a\0b", "embedded null byte"),
    ("/dev/null/x", None)])
def test_a_folder_that_cannot_hold_files_is_refused(folder: str, why: str | None, in_folder: Path) -> None:
    with pytest.raises(SettingError) as refused:
        check_folder(Path(folder), "store")
    words = "but '/dev/null' is a file" if why is None else f"which cannot be written in ({why})"
    assert str(refused.value) == f"store is {folder!r}, {words}: expected a folder to write in"


def test_a_full_disk_is_reported_before_any_work(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(SettingError, match=r"^store is 'a/b', which cannot be written in \(No space left on device\): "):
        check_folder(Path("a/b"), "store")
    assert not list(in_folder.iterdir())


def test_a_file_that_cannot_be_written_is_refused(in_folder: Path) -> None:
    check_file(Path("new/picture.svg"), "--out")
    Path("folder").mkdir()
    with pytest.raises(SettingError, match=r"^--out is 'folder', which is a folder: expected a file to write$"):
        check_file(Path("folder"), "--out")
    with pytest.raises(SettingError, match=r"^--out is 'x{250}', which cannot be written \(File name too long\): "):
        check_file(Path("x" * 250), "--out")  # the temporary name is longer
    assert [path.name for path in in_folder.iterdir()] == ["folder"]


# Reading untrusted files -------------------------------------------------------------------------------------------------

KIND = FileKind("a note", SettingError, "write it anew", limit=200_000, schema=dict[str, int])


@pytest.mark.parametrize(("make", "words"), [
    (lambda path: os.mkfifo(path), "it is a pipe: expected a regular file"),
    (lambda path: path.mkdir(), "it is a folder: expected a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "it is a link that leads out of .*: expected a file in this folder"),
    (lambda path: path.symlink_to("/etc/hostname"), "it is a link that leads out of .*: expected a file in this folder"),
    (lambda path: path.symlink_to(path.name), r"it cannot be opened \(Too many levels of symbolic links\)"),
    (lambda path: path.write_bytes(b"x" * 200_001), "it has 200,001 bytes: expected at most 200,000"),
    (lambda path: path.write_bytes(b'{"a": "\xff"}'), "byte 7 is not UTF-8"),
    (lambda path: path.write_text("{"), "it is not JSON .*: expected JSON as ami writes it"),
    (lambda path: path.write_text("[" * 100_000 + "]" * 100_000), "it nests too deep: expected at most 64 levels"),
    (lambda path: path.write_text("[" * 80 + "]" * 80), "it nests too deep: expected at most 64 levels"),
    (lambda path: path.write_text('{"a": "\\ud800"}'),
     r"'\\ud800' is not valid text: expected Unicode without lone surrogates"),
    (lambda path: path.write_text('{"a": ' + "9" * 400 + "}"), "a number of 1329 bits: expected at most 64"),
    (lambda path: path.write_text('{"a": "b"}'), "a is 'b': expected a whole number"),
])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "note.json")
    with pytest.raises(SettingError, match=rf"note\.json is not a note: ({words})\. Fix: write it anew$") as caught:
        KIND.read_json(tmp_path / "note.json", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_device_is_refused_without_reading_it() -> None:
    with pytest.raises(SettingError, match="it is a device: expected a regular file"):
        KIND.read(Path("/dev/zero"))


def test_too_many_values_are_refused_before_parsing(tmp_path: Path) -> None:
    many = FileKind("a note", SettingError, "write it anew")
    (tmp_path / "note.json").write_text("[" + "0," * 2_000_001 + "0]")
    with pytest.raises(SettingError, match="it holds too many values: expected at most 2,000,000"):
        many.read_json(tmp_path / "note.json")


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"a": 1}')
    (tmp_path / "link.json").symlink_to("note.json")
    (tmp_path / "folder").symlink_to(".")
    assert KIND.read_json(tmp_path / "link.json", tmp_path) == KIND.read_json(tmp_path / "folder" / "note.json") == {"a": 1}


@pytest.mark.parametrize("name", ["none.json", "note.json/none.json"])
def test_a_missing_file_raises_file_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "note.json").write_text('{"a": 1}')
    with pytest.raises(FileNotFoundError):
        KIND.read(tmp_path / name)
