import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.trace.header import intrinsic_cost_hash, read_header, versions, write_header


def test_a_header_survives_write_and_read(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    graph = tiny_agent()
    written = write_header(tmp_path / "run-7", graph, {"seed": 3, "planner": {"horizon": 4}}, seed=3, details={"agents": 2})
    header = read_header(tmp_path / "run-7")
    assert header == json.loads(json.dumps(written))
    assert header["run_id"] == "run-7" and header["seed"] == 3 and header["details"] == {"agents": 2}
    assert header["graph"] == json.loads(json.dumps(graph.describe())) and header["graph_hash"] == graph.hash()
    assert header["roles"]["world_model"] == "world_model" and list(header["roles"]) == list(graph.order)
    assert header["versions"]["torch"] and header["versions"]["python"]


def test_a_header_is_read_with_the_new_names_of_modules_settings(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    actor = {"_target_": "modules.actor.random.RandomActor", "keep": 0.3}
    header = write_header(tmp_path, tiny_agent(), {"actor": actor}, seed=0, details={"overrides": ["actor.keep=0.3"]})
    header["graph"]["nodes"]["actor"] = actor
    (tmp_path / "header.json").write_text(json.dumps(header))
    read, expected = read_header(tmp_path), {"_target_": "modules.actor.random.RandomActor", "stickiness": 0.3}
    assert read["config"]["actor"] == expected and read["graph"]["nodes"]["actor"] == expected
    assert read["details"]["overrides"] == ["actor.stickiness=0.3"]


def test_the_config_hash_is_independent_of_key_order(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    configs = ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}, None)
    hashes = [write_header(tmp_path, tiny_agent(), config, seed=0)["config_hash"] for config in configs]
    assert hashes[0] == hashes[1] != hashes[2] and hashes[3] is None


def test_both_clocks_are_read_at_the_same_time(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    clock = write_header(tmp_path, tiny_agent(), seed=0)["clock"]
    assert abs((time.time_ns() - clock["epoch"]) - (time.perf_counter_ns() - clock["monotonic"])) < 1e9


def test_the_intrinsic_cost_is_hashed_without_its_critic() -> None:
    import ami
    from ami.config.compose import to_graph

    hashes = [intrinsic_cost_hash(to_graph(ami.compose(overrides))) for overrides in
              ([], ["planner=random_shooting"], ["cost=effort"])]
    assert hashes[0] == hashes[1] != hashes[2]


def test_without_a_cost_there_is_no_cost_hash(tiny_agent: Callable[..., Graph]) -> None:
    assert intrinsic_cost_hash(tiny_agent()) is None


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert set(versions(["torch", "no-such-package"])) == {"python", "machine", "torch"}


def test_a_folder_without_a_run_is_refused_with_nearby_runs(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no run: expected a folder with header\.json, as `ami run` leaves it$"):
        read_header(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(TraceError, match=r"file holds no run: "):
        read_header(tmp_path / "file")
    write_header(tmp_path / "runs" / "monday", tiny_agent(), seed=0)
    with pytest.raises(TraceError, match=r"holds no run: .*\. Fix: name one of .*monday$"):
        read_header(tmp_path)


@pytest.mark.parametrize("content, words", [
    ("{", r"header\.json is not a run header: it is not JSON .*: expected JSON"),
    ('{"format": 99}', r"header\.json has the format 99: expected 1\. Fix: read it with the version of ami that wrote it")])
def test_an_invalid_header_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "header.json").write_text(content)
    with pytest.raises(TraceError, match=words):
        read_header(tmp_path)


def test_an_unfinished_comparison_is_named_without_its_variants(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    for content in (None, "[]", '{"overrides": {"a": ["seed=1"]}, "seeds": ["x"]}'):
        if content is not None:
            (tmp_path / "summary.json").write_text(content)
        with pytest.raises(TraceError, match=r"holds a comparison, .* and open the folder that it prints$"):
            read_header(tmp_path)
