from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.trace.header import write_header
from ami.trace.invocation import invocations
from ami.trace.log import TraceLog
from ami.trace.reader import Trace


def traced(folder: Path, graph: Graph, *rows: tuple[str, int, dict[str, torch.Tensor]]) -> Trace:
    write_header(folder, graph, seed=0)
    log = TraceLog(folder / "trace" / "agent-0")
    for node, tick, outputs in rows:
        log.add(node, 0, tick, 1000 * tick, 1000 * tick + 500, outputs)
    log.close()
    return Trace.open(folder)


ACTION = {"action": torch.zeros(2, 2)}
STATE = {"state": torch.tensor([[0.0, 2.0], [4.0, 6.0]]), "surprise": torch.zeros(2)}


def test_inputs_are_named_by_the_received_message(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    rows = [(node, tick, outputs) for tick in (0, 1) for node, outputs in (
        ("perception", {"percept": torch.zeros(2, 2)}), ("world_model", STATE), ("actor", ACTION))]
    trace = traced(tmp_path, tiny_agent(), *rows)
    first, second = (next(one for one in invocations(trace, 0, tick) if one.node == "world_model") for tick in (0, 1))
    assert first.inputs == {"percept": "perception.percept@0", "action": "nothing sent yet"}
    assert second.inputs == {"percept": "perception.percept@1", "action": "actor.action@0"}
    assert (second.start, second.end, second.us) == (1000, 1500, 0.5)


def test_a_resting_node_is_left_out_and_its_last_message_stays(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    plan = {"plan": torch.zeros(2, 3, 2)}
    trace = traced(tmp_path, tiny_agent(), ("planner", 0, plan), ("actor", 0, ACTION), ("actor", 1, ACTION))
    fired = invocations(trace, 0, 1)
    assert [one.node for one in fired] == ["actor"]
    assert fired[0].inputs["plan"] == "planner.plan@0"


@pytest.mark.parametrize("message, shape, content", [
    (torch.tensor([[0.0, 2.0], [4.0, 6.0]]), "float32 (2, 2)", "3 ± 2.24 [0, 6]"),
    (torch.tensor([0.25, 1.0]), "float32 (2,)", "0.25, 1"),
    (torch.full((50,), 256), "int64 (50,)", "256"),
    (torch.arange(50.0), "float32 (50,)", "24.5 ± 14.4 [0, 49]"),
    (torch.tensor([True]), "bool (1,)", "yes"),
    (torch.tensor([False]), "bool (1,)", "no"),
    (torch.tensor([True, False, True, True, True]), "bool (5,)", "4 of 5 yes"),
    (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), "uint8 (1, 4, 4, 3)", ""),
    (torch.zeros(2, 0), "float32 (2, 0)", "")])
def test_message_content_as_text(
        tiny_agent: Callable[..., Graph], tmp_path: Path, message: torch.Tensor, shape: str, content: str) -> None:
    sent = invocations(traced(tmp_path, tiny_agent(), ("world", 0, {"port": message})), 0, 0)[0].outputs[0]
    assert (sent.port, sent.shape, sent.content) == ("port", shape, content)
    assert len(sent.hash) == 16


def test_the_implementation_is_the_dotted_path(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    fired = invocations(traced(tmp_path, tiny_agent(), ("world", 0, {"reward": torch.zeros(1)})), 0, 0)
    assert fired[0].implementation == "ami.envs.world.GymWorld"


@pytest.mark.parametrize("wave, tick, words", [(0, 2, r"holds no tick 2 in wave 0: expected 0 to 1\. Fix: --tick 1"),
                                               (0, -1, r"holds no tick -1 in wave 0: expected 0 to 1"),
                                               (3, 0, r"holds no wave 3: expected 0\. Fix: --wave 0")])
def test_an_unrecorded_tick_or_wave_is_refused(
        tiny_agent: Callable[..., Graph], tmp_path: Path, wave: int, tick: int, words: str) -> None:
    trace = traced(tmp_path, tiny_agent(), ("actor", 0, ACTION), ("actor", 1, ACTION))
    with pytest.raises(TraceError, match=words):
        invocations(trace, wave, tick)
