"""Mutations of run folders: one mutation of one file of a recorded run, and the readers that must handle it.

A reader either succeeds or raises an AmiError of one line that names the run, within limits of time and memory.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pyarrow as pa

from ami.errors import AmiError

SECONDS, EXTRA_BYTES = 2.0, 2 * 2**30
HUGE = (2**31 - 1, 2**31, -1, -(2**31), 2**40, 2**63 - 1, 2**63, 10**40, 10**5000)
VALUES: tuple[str, ...] = ("null", "true", "[]", "{}", '""', "0", "-1", "1.5", "NaN", "1e999", "Infinity", '"\\ud800"',
                           '"\\u001b]0;x\\u0007"', '"\\u202e"', '"a\\nb"', '"../../x"', "[[[[]]]]", "[" * 70 + "]" * 70,
                           "[" * 100_000 + "]" * 100_000, '"' + "x" * 200_000 + '"', '{"a": {"b": [1, "c", null]}}',
                           '"a.b"', '"float32"', "[1, 2]", '["a"]')
BINARY = b"\x00\x01\x02\x7f\x80\xfe\xff"


# Mutations ----------------------------------------------------------------------------------------------------------------


def mutate(folder: Path, rng: random.Random) -> str:
    """Mutate one file of a run; return a description."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    kinds: list[Callable[[Path, random.Random], str]] = [_bytes, _bytes, _kind]
    if path.suffix == ".json":
        kinds += [_json] * 6
    if path.suffix == ".arrow":
        kinds += [_column] * 6
    if path.suffix == ".safetensors":
        kinds += [_safetensors] * 6
    return f"{path.relative_to(folder)}: {rng.choice(kinds)(path, rng)}"


def _bytes(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 4, 8, 64, 1000))
    how = rng.choice(("flip", "cut", "insert", "repeat", "zero", "replace", "text", "number"))
    if how == "flip":
        for place in {rng.randrange(len(content)) for _ in range(rng.choice((1, 1, 3, 30)))} if content else ():
            content[place] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del content[at:]
    elif how == "insert":
        content[at:at] = bytes(rng.choice(BINARY) for _ in range(length))
    elif how == "repeat":
        content[at:at] = content[at:at + length]
    elif how == "zero":
        content[at:at + length] = bytes(length)
    elif how == "replace":
        content[at:at + length] = bytes(rng.choice(BINARY) for _ in range(length))
    elif how == "text":
        content[at:at] = rng.choice(("\x1b[31m", "\u202e", "\ufeff", "</script>")).encode()
    else:
        content[at & ~7:(at & ~7) + 8] = rng.choice((2**31 - 1, 2**40, 2**62, 2**63 - 1)).to_bytes(8, "little")
    path.write_bytes(content)
    return f"{how} at {at}, {length}"


def _kind(path: Path, rng: random.Random) -> str:
    how = rng.choice(("missing", "empty", "folder", "pipe", "device", "link", "loop", "sparse", "binary"))
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "link":
        path.symlink_to("/etc/hostname")
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "sparse":
        with path.open("wb") as file:
            file.truncate(2**42)
    elif how == "binary":
        path.write_bytes(bytes(rng.randrange(256) for _ in range(1000)))
    return how


def _json(path: Path, rng: random.Random) -> str:
    content = json.loads(path.read_text())
    where, what = _spoilt(content, rng)
    text = json.dumps(content)
    path.write_text(text.replace('"@@"', where, 1) if where else text)
    return what


def _spoilt(content: Any, rng: random.Random) -> tuple[str, str]:
    """Change one entry; return the text that replaces "@@", and a description."""
    holder, key = content, rng.choice(list(content))
    while rng.random() < 0.75 and isinstance(holder[key], dict | list) and holder[key]:
        holder = holder[key]
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    how = rng.choice(("drop", "rename", "value", "value", "value", "huge", "many"))
    if how == "drop":
        del holder[key]
    elif how == "rename" and isinstance(holder, dict):
        holder[rng.choice(("", "x" * 1000, "a b", "\x1b[31m", "wave", "__class__"))] = holder.pop(key)
    elif how == "huge":
        holder[key] = rng.choice(HUGE[:-1])
    elif how == "many" and isinstance(holder[key], list) and holder[key]:
        holder[key] = holder[key] * 50
    else:
        holder[key] = "@@"
        text = rng.choice((*VALUES, "9" * 5000))
        return text, f"{key} = {text[:40]}"
    return "", f"{how} {key}"


def _column(path: Path, rng: random.Random) -> str:
    """Rewrite a stream with another column, other metadata or in another form."""
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all()
    names = table.column_names
    at = rng.randrange(len(names))
    name, column = names[at], table.column(at)
    how = rng.choice(("value", "value", "value", "retype", "rename", "drop", "null", "repeat", "metadata", "metadata",
                      "compress", "dictionary", "file", "lengths", "shuffle", "swap", "none"))
    options = pa.ipc.IpcWriteOptions()
    if how == "value" and pa.types.is_integer(column.type):
        values = column.to_pylist()
        values[rng.randrange(len(values))] = rng.choice([one for one in HUGE if -2**31 <= one < 2**31])
        table = table.set_column(at, name, pa.array(values, column.type))
    elif how == "value" and pa.types.is_floating(column.type):
        values = column.to_pylist()
        values[rng.randrange(len(values))] = rng.choice((float("nan"), float("inf"), -1e38, None))
        table = table.set_column(at, name, pa.array(values, column.type))
    elif how == "value" and pa.types.is_binary(column.type):
        values = column.to_pylist()
        values[rng.randrange(len(values))] = rng.choice((b"", b"\xff" * 100, bytes(10**6), None, *values))
        table = table.set_column(at, name, pa.array(values, column.type))
    elif how in ("value", "lengths"):
        other = pa.list_(pa.float32()) if how == "lengths" else column.type
        if pa.types.is_list(other):
            values = [rng.choice(([], [1.0], [1.0] * 1000, [None], [float("nan")] * 2)) for _ in range(len(column))]
            table = table.set_column(at, name, pa.array(values, other))
    elif how == "retype":
        other = rng.choice((pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.large_binary(), pa.null()))
        table = table.set_column(at, name, pa.nulls(len(table), other) if rng.random() < 0.3 else pa.array(
            ["1" if other in (pa.string(), pa.binary(), pa.large_binary()) else None] * len(table), other))
    elif how == "rename":
        table = table.rename_columns([rng.choice(("x", "", "wave", "\x1b", f"{name}.data")) if one == name else one
                                      for one in names])
    elif how == "drop":
        table = table.remove_column(at)
    elif how == "null":
        table = table.set_column(at, name, pa.nulls(len(table), column.type))
    elif how == "repeat":
        table = pa.concat_tables([table] * rng.choice((2, 5)))
    elif how == "metadata":
        table = table.replace_schema_metadata(_metadata(table.schema.metadata, rng))
    elif how == "compress":
        table = table.append_column("zeros", pa.array([bytes(10**6)] * len(table)))
        options = pa.ipc.IpcWriteOptions(compression=rng.choice(("lz4", "zstd")))
    elif how == "dictionary":
        table = table.append_column("extra", pa.array(["a"] * len(table)).dictionary_encode())
    elif how == "shuffle":
        order = list(range(len(table)))
        rng.shuffle(order)
        table = table.take(order)
    elif how == "swap" and at:
        table = table.select([names[at], *(one for one in names if one != names[at])])
    new = pa.ipc.new_file if how == "file" else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rng.choice((1, 7, 1000)))
    return f"{how} {name}"


def _metadata(metadata: dict[bytes, bytes], rng: random.Random) -> dict[bytes, bytes]:
    found = dict(metadata)
    how = rng.choice(("node", "ports", "ports", "ports", "drop", "binary"))
    if how == "node":
        found[b"node"] = rng.choice((b"", b"../x", b"world", b"a.b", b"\x1b[31m", b"x" * 10_000, b"nobody"))
    elif how == "ports":
        ports = json.loads(found[b"ports"])
        place, _ = _spoilt(ports, rng) if ports else ("", "")
        found[b"ports"] = json.dumps(ports).replace('"@@"', place or '"@@"', 1).encode()
    elif how == "drop":
        found.pop(rng.choice(list(found)))
    else:
        found[rng.choice((b"node", b"ports"))] = b"\xff\xfe{"
    return found


def _safetensors(path: Path, rng: random.Random) -> str:
    """Change the head of a safetensors file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.2:
        path.write_bytes(rng.choice((0, 2**20, 2**40, 2**63)).to_bytes(8, "little") + content[8:])
        return "the size of the head"
    head = json.loads(content[8:8 + size])
    if rng.random() < 0.3:
        notes = json.loads(head["__metadata__"]["ami"])
        text, what = _spoilt(notes, rng) if notes else ("", "nothing")
        head["__metadata__"]["ami"] = json.dumps(notes).replace('"@@"', text or '"@@"', 1)
        text = json.dumps(head)
    else:
        place, what = _spoilt(head, rng)
        text = json.dumps(head).replace('"@@"', place or '"@@"', 1)
    path.write_bytes(len(text.encode()).to_bytes(8, "little") + text.encode() + content[8 + size:])
    return what


# Readers ------------------------------------------------------------------------------------------------------------------


def _show(run: Path, good: Path) -> None:
    from ami.views.show import show

    show(run)
    show(run, tick=1)
    show(run, node="planner")
    show(run, row=0)
    show(run, where="live and tick > 1")


def _tables(run: Path, good: Path) -> None:
    import ami
    from ami.views.tables import NAMES

    tables = ami.load_trace(run)
    for name in NAMES:
        getattr(tables, name).to_pandas()


def _diff(run: Path, good: Path) -> None:
    from ami.views.diff import diff

    diff(good, run)
    diff(run, good)


def _view(run: Path, good: Path) -> None:
    from ami.views.viewer import view

    view(run, run.parent / "view.html", reference=good)


def _export(run: Path, good: Path) -> None:
    from ami.views.export import export
    from ami.views.spans import Sample

    for form, name in (("perfetto", "t.json"), ("otlp", "o.json"), ("parquet", "tables")):
        export(run, form, run.parent / name, Sample())


def _open_recording(run: Path, good: Path) -> None:
    from ami.replay.recording import Recording

    Recording.open(run).changes()


def _replay(run: Path, good: Path) -> None:
    from ami.replay.report import replay

    replay(run, out=run.parent / "replayed")


def _swap(run: Path, good: Path) -> None:
    from ami.replay.report import replay

    replay(run, overrides=["planner.num_candidates=4"], swapping=True, out=run.parent / "swapped")


def _fork(run: Path, good: Path) -> None:
    from ami.replay.report import replay

    replay(run, tick=2, out=run.parent / "forked")


def _load(run: Path, good: Path) -> None:
    import ami

    ami.load(run)


def _record(run: Path, good: Path) -> None:
    from ami.comparison.identity import FILE
    from ami.comparison.jobs import RECORD_FILE

    RECORD_FILE.read_json(run / "record.json", run)
    FILE.read_json(run / "comparison.json", run)


QUICK: dict[str, Callable[[Path, Path], None]] = {"show": _show, "tables": _tables, "diff": _diff, "view": _view,
                                                  "recording": _open_recording, "record": _record}
SLOW: dict[str, Callable[[Path, Path], None]] = {"export": _export, "replay": _replay, "swap": _swap, "fork": _fork,
                                                 "load": _load}


# Checks -------------------------------------------------------------------------------------------------------------------


@contextmanager
def little_memory(extra: int = EXTRA_BYTES) -> Iterator[None]:
    """Limit this process to `extra` more bytes of address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fault_of(reader: Callable[[Path, Path], None], run: Path, good: Path) -> str | None:
    """Return a reader's fault; None if it succeeds or raises a proper error."""
    begun, printed = time.process_time(), io.StringIO()
    try:
        with redirect_stdout(printed):
            reader(run, good)
    except AmiError as error:
        message = str(error)
        if "\n" in message:
            return f"several lines: {message[:300]}"
        if str(run) not in message:
            return f"names no file: {message[:300]}"
    except FileNotFoundError as error:
        if run.exists() and str(run) in str(error) and not Path(str(error)).exists() and reader is _record:
            return None  # named by the caller
        return f"{type(error).__name__}: {str(error)[:300]}"
    except (Exception, RecursionError) as error:
        import traceback

        last = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in last if "/ami/" in frame.filename or "/modules/" in frame.filename] or last
        return f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno}: {str(error)[:300]}"
    seconds = time.process_time() - begun
    raw = [sign for sign in printed.getvalue() if not sign.isprintable() and sign != "\n"]
    if raw:
        return f"prints {raw[0]!r}"
    return f"takes {seconds:.1f} s" if seconds > SECONDS else None


def fresh(good: Path, folder: Path) -> Path:
    """Return a copy of a run for a mutation."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder / "run", ignore=shutil.ignore_patterns("replays"))
    return folder / "run"


def remove(folder: Path) -> None:
    """Delete a mutated copy."""
    shutil.rmtree(folder, ignore_errors=True)


def recorded(folder: Path) -> Path:
    """Record a small run with every file: header, manifest, summary, trace with payloads and notes, agent."""
    import ami
    from ami.config.compose import to_graph
    from ami.evaluation.evaluate import evaluate
    from ami.runtime.worker import Worker
    from ami.saved.agent_file import Trained
    from ami.session import evaluation
    from ami.session.record import describe

    run = folder / "run"
    config = ami.compose(["learning=none", "runtime=local", "evaluation.pairs=2", "evaluation.batch=2", "evaluation.video=0",
                          "planner.horizon=3", "planner.num_candidates=8", "planner.num_elites=2", "trace.level=full",
                          "planner.num_iterations=1", "world.max_episode_steps=6", f"store={folder}"])
    graph = to_graph(config)
    modules = Worker(graph, graph.order, 0).modules
    weights = {node: dict(module.state_dict()) for node, module in modules.items() if module.state_dict()}
    trained = Trained(weights, key="0" * 16, probes={"trained": {"r2": 0.5}},
                               rows=[{"stage": "a", "step": 0.0, "loss": 1.0}])
    manifest = evaluation.seal(config, graph)
    manifest.save(run / evaluation.MANIFEST)
    describe(config, graph, trained, run)
    with evaluation.agents(config, graph, weights, run, ()) as started:
        evaluate(started, manifest, 2)
    (run / "trace" / "INCOMPLETE").write_text("the trace could not be written (No space left on device)\n")
    (run / "record.json").write_text(json.dumps({
        "seed": 0, "manifest": "0" * 16, "pairs": "0" * 16, "learning_seconds": 1.0, "checkpoint": None, "probes": {},
        "evaluation": {"outcomes": [{"kind": "a", "success": True, "steps": 3, "ret": 1.0}], "decisions": 1, "plans": 1,
                       "model_steps": 1, "seconds": 0.1}}))
    (run / "comparison.json").write_text(json.dumps({"format": 1, "seeds": [0], "variants": {"a": {}}, "refused": []}))
    return run
