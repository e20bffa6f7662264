"""The identity of a comparison: all that its figures depend on. A folder holds one comparison and refuses another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ami.comparison.variants import Sound
from ami.errors import SettingError, require
from ami.session.evaluation import judged_graph
from ami.storage.files import FileKind, check_folder, write_json
from ami.trace.provenance import code_of, engine_code
from ami.tracking.mlflow_database import check_database

IDENTITY = "comparison.json"
FORMAT = 2
RUNS = ("ami.session.evaluation", "ami.session.learn", "ami.learning.trainer", "ami.evaluation.evaluate")
"""The files of ami that a comparison's figures depend on, besides those that run an agent."""
SHOWN_DIFFERENCES = 3
FILE = FileKind("a comparison's identity", SettingError, "another --folder", schema=dict[str, Any])


def identity_of(sound: Sequence[Sound], refused: Mapping[str, str], seeds: Sequence[int]) -> dict[str, Any]:
    """Return all that the figures depend on; a comparison resumes only in a folder with an equal identity."""
    variants: dict[str, Any] = {}
    for one in sound:
        learner = judged_graph(one.learner) if one.variant.learner is not None else one.graph
        variants[one.variant.label] = {
            "agent": one.graph.describe(),
            "learner": None if learner is one.graph else {"agent": learner.describe(), "code": code_of(learner)},
            "learning": one.learner.plain()["learning"],
            "checkpoint": one.learner.settings.checkpoint,
            "untrained": list(one.variant.untrained),
            "code": code_of(one.graph),
            "manifest": one.manifest.hash,
            "metrics": list(one.config.settings.evaluation.get("metrics", [])),
        }
    identity = {"format": FORMAT, "seeds": list(seeds), "engine": engine_code(RUNS), "variants": variants,
                "refused": sorted(refused)}
    plain: dict[str, Any] = json.loads(json.dumps(identity, default=str))
    return plain


def claim(folder: Path, store: Path, identity: Mapping[str, Any]) -> None:
    """Start or resume a comparison in this folder; refuse a folder with another one, or with a run.

    Raises:
        SettingError: names the differences.
    """
    for place, what in ((folder, "the comparison's folder"), (store, "store")):
        check_folder(place, what)
    check_database(store)
    try:
        found = FILE.read_json(folder / IDENTITY, folder)
    except FileNotFoundError:
        require(not folder.exists() or not any(folder.iterdir()),
                f"'{folder}' is not empty and holds no comparison. Fix: another --folder")
        write_json(folder / IDENTITY, identity)
        return
    changed = list(_differences(found, identity))
    if changed:
        more = f" and {len(changed) - SHOWN_DIFFERENCES} more" if len(changed) > SHOWN_DIFFERENCES else ""
        raise SettingError(f"'{folder}' holds another comparison: {'; '.join(changed[:SHOWN_DIFFERENCES])}{more}. "
                           "Fix: another --folder, or delete it")


def _differences(then: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*then, *now]):
            inner = f"{path}: {key}" if path == "variants" else f"{path}.{key}" if path else str(key)
            if key not in now:
                yield f"it has {inner.removeprefix('variants: ')}, which is not requested now"
            elif key not in then:
                yield f"it has no {inner.removeprefix('variants: ')}"
            else:
                yield from _differences(then[key], now[key], inner)
    elif then != now:
        what = path.removeprefix("variants: ")
        owner, _, node = what.rpartition(".code.")
        yield ("the code of ami was changed" if what == "engine" else
               f"the code of {node} in {owner} was changed" if owner else
               f"{what} was {_short(then)} and is now {_short(now)}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def short_hash(content: Any) -> str:
    """Return 8 hex digits that identify plain content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
