"""A port of texts is printed as text, in the terminal and on the viewer's page."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, to_graph
from ami.envs.spaces import text_bytes
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import NAME, write_header
from ami.trace.invocation import invocations
from ami.trace.levels import recorded_ports
from ami.trace.log import TraceLog
from ami.trace.reader import Trace, texts_of
from ami.views.show import show
from ami.views.viewer_data import pages

MISSION = ["world=gym", "perception=vector", "goal=none", "memory=none", "agent=random",
           "world.id=tests.support.hostile_envs:hostile/Mission-v0"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    graph = to_graph(compose(MISSION, allow=["tests."]))
    write_header(tmp_path, graph, seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0", recorded_ports(graph, "boundary"))
    with Agent(LocalRuntime(graph, recorder=log)) as agent:
        for _ in rollout(agent, [Episode(0, 0), Episode(1, 1)]):
            pass
    return tmp_path


def shown(folder: Path, **what: object) -> str:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    show(folder, console=console, **what)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_header_names_ports_of_texts(run: Path) -> None:
    trace = Trace.open(run)
    assert trace.header["texts"] == ["world.mission"] and trace.texts == {"world.mission"}


def test_a_text_is_printed(run: Path) -> None:
    (line,) = [line for line in shown(run, tick=1, node="world").splitlines() if "→ mission" in line]
    assert "uint8 (2, 40)" in line and "'go to the red ball'" in line
    lines = shown(run, node="world").splitlines()
    assert "mission" in lines[2] and sum("'go to the red ball'" in line for line in lines) == Trace.open(run).waves[0]


def test_the_viewer_holds_texts(run: Path) -> None:
    figures = pages(Trace.open(run)).parts["wave-0"]["nodes"]["world"]["ports"]["mission"]
    of = np.frombuffer(base64.b64decode(figures["text"]), "<f4").astype(int)
    assert len(of) == 2 * Trace.open(run).waves[0]
    assert {figures["texts"][index] for index in of} == {"go to the red ball"}


def test_traces_of_earlier_versions_name_no_texts(run: Path) -> None:
    header = json.loads((run / NAME).read_text())
    del header["texts"]
    (run / NAME).write_text(json.dumps(header))
    assert Trace.open(run).texts == frozenset() and "red ball" not in shown(run, tick=1)
    assert "texts" not in pages(Trace.open(run)).parts["wave-0"]["nodes"]["world"]["ports"]["mission"]


def test_different_texts_are_listed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("many")
    header = json.loads((run / NAME).read_text())
    (folder / NAME).write_text(json.dumps({**header, "texts": ["world.mission"]}))
    log = TraceLog(folder / "trace" / "agent-0", payload=True)
    texts = ["to A", "to B", "to A", "zu ä [b]", "", "to C", "to D"]
    log.add("world", 0, 0, 0, 5, {"mission": torch.from_numpy(np.stack([text_bytes(text, 10) for text in texts]))})
    log.close()
    (sent,) = invocations(Trace.open(folder), 0, 0)[0].outputs
    assert sent.content == "'to A', 'to B', 'zu ä [b]', '', and 2 more"
    assert "[b]" in shown(folder, node="world")


def test_invalid_bytes_and_invisible_characters_are_escaped() -> None:
    assert texts_of(b"a\xffb\0\x1b[1m", 2) == [r"a\xffb", r"\x1b[1m"]
    assert texts_of(b"", 2) == ["", ""]
