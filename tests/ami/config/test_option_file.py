"""Option files: each fault is one line that names the file; no file blocks or exhausts memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ami.config.compose import compose
from ami.errors import SettingError

TARGET = "_target_: modules.planner.cem.CEM\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 12))

BROKEN: dict[str, tuple[str | bytes | Callable[[Path], None], str]] = {
    "alias bomb": (BOMB, ", line 6: it expands to more than 50000 values. Fix: fewer aliases (`*name`) or values"),
    "alias in itself": (TARGET + "horizon: &x [*x]\n", ", line 2: an alias contains itself. Fix: write the value out"),
    "undefined alias": (TARGET + "horizon: *x\n", ", line 2: found undefined alias 'x'"),
    "not UTF-8": (b"# caf\xe9\n" + TARGET.encode(), ", line 1: byte 0xe9 is not UTF-8. Fix: save it as UTF-8"),
    "a tab": (TARGET + "\thorizon: 3\n", ", line 2: found character '\\t' that cannot start any token. "
                                         "Fix: indent with spaces"),
    "a null character": (TARGET + "horizon: \0\n", ", line 2: the character U+0000 is not allowed in YAML. Fix: remove it"),
    "a duplicate key": (TARGET + "horizon: 3\nhorizon: 4\n", ", line 3: found duplicate key horizon"),
    "an unhashable key": (TARGET + "? [1]\n: 2\n", ", line 2: found unhashable key"),
    "a null key": (TARGET + "null: 2\n", ": Incompatible key type 'NoneType'"),
    "two documents": (TARGET + "---\n" + TARGET, ", line 2: but found another document"),
    "a Python object": (TARGET + "horizon: !!python/object/apply:os.getcwd []\n",
                        ", line 2: could not determine a constructor for the tag "
                        "'tag:yaml.org,2002:python/object/apply:os.getcwd'"),
    "a broken interpolation": (TARGET + "horizon: ${}\n", ": no viable alternative at input '${}'"),
    "deep": (TARGET + "horizon: " + "[" * 3000 + "]" * 3000, ", line 2: values are nested in more than 60 levels. "
                                                             "Fix: a flatter file"),
    "huge": ("#" * 1_000_001, " has 1000001 bytes: expected at most 1000000. Fix: leave data out of an option, and name the "
                              "file that holds it"),
    "a list": ("- 1\n", ": expected settings, `name: value`, not a list"),
    "defaults that are not a list": ("defaults: 3\n" + TARGET,
                                  ": `defaults` is 3: expected a list of options, `- override /planner: cem`"),
    "a package of two words": ("# @package a b\n" + TARGET, ": Too many components in '@package a b'"),
    "a pipe": (os.mkfifo, " is a pipe: expected a file of YAML. Fix: rename or remove it"),
    "a folder": (Path.mkdir, " is a folder: expected a file of YAML. Fix: rename or remove it"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), " is a device: expected a file of YAML. "
                                                            "Fix: rename or remove it"),
    "a link to nowhere": (lambda file: file.symlink_to("nowhere"), " cannot be read: No such file or directory"),
}


def option(folder: Path, name: str, content: str | bytes | Callable[[Path], None]) -> Path:
    file = folder / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_file_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    content, sentence = BROKEN[fault]
    file = option(tmp_path, "planner/mine", content)
    with pytest.raises(SettingError) as refused:
        compose([f"hydra.searchpath=[file://{tmp_path}]", "planner=mine"])
    assert str(refused.value) == f"{file}{sentence}"


@pytest.mark.parametrize(("text", "sentence"), [
    ("defaults: [mine]\n", "the configuration does not compose: an option includes itself, or values are nested too deep. "
                           "Fix: look at the `defaults` of your own options"),
    ("defaults: [{override /cost: {a: 1}}]\n",
     "the configuration does not compose: Unsupported item value in defaults : dict. Supported: string or list. "
     "Fix: look at the `defaults` and `@package` of your own options"),
    (TARGET + "horizon: ${planner.num_candidates}\nnum_candidates: ${planner.horizon}\n",
     "the configuration does not resolve: planner.horizon: Recursive interpolation detected"),
    (TARGET + "horizon: ${planner}\n", "the configuration does not resolve: planner.horizon: Interpolation to parent node "
                                       "detected"),
])
def test_loops_are_refused_in_one_line(text: str, sentence: str, tmp_path: Path) -> None:
    option(tmp_path, "planner/mine", text)
    with pytest.raises(SettingError) as refused:
        compose([f"hydra.searchpath=[file://{tmp_path}]", "planner=mine"])
    assert str(refused.value) == sentence


def test_aliases_within_the_limit_are_read(tmp_path: Path) -> None:
    option(tmp_path, "planner/mine", TARGET + "horizon: &six 6\nnum_candidates: *six\n")
    planner = compose([f"hydra.searchpath=[file://{tmp_path}]", "planner=mine"]).settings.planner
    assert (planner.horizon, planner.num_candidates) == (6, 6)


def test_a_broken_option_that_is_not_chosen_does_not_matter(tmp_path: Path) -> None:
    option(tmp_path, "planner/broken", BOMB)
    option(tmp_path, "planner/mine", TARGET)
    assert compose([f"hydra.searchpath=[{tmp_path}]", "planner=mine"]).settings.planner._target_ == TARGET.split()[1]
