"""Learnt recurrent beliefs of place beside the gated integrator, in the house.

    python benchmarks/beliefs.py [--store FOLDER] [--perception FILE]     # about 20 CPU-minutes

One frozen perception serves all rows; without FILE it is trained first. Columns: CPU-seconds of the belief's training; R² of
an affine read-out of the place (2,), for the displacement since the start on unseen houses (a tour of all rooms, then a
walk); and, for the best two learnt beliefs and the gated one, success of the agent on far errands. The read-out is fitted on
half of the houses and scored on the other half. Thresholds were fixed before the first run of this file. Results are written
after every row; with --store, finished rows are read from the folder.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))
import safetensors.torch
import torch
from record import record
from study import evaluate_agent, manifest_of, of_kind
from torch import Tensor

import ami
from ami.blueprint import Perception
from ami.config.compose import to_graph
from ami.data.replay_buffer import ReplayBuffer
from ami.evaluation.statistics import wilson
from ami.learning.collect import collect, collector
from ami.learning.states import percepts_of
from ami.module import LEARNING_STATE
from ami.runtime.worker import Worker
from ami.session.learn import learn
from ami.storage.files import write_json
from modules.world_model.place import Place
from modules.world_model.recurrent_place import RecurrentPlace

REACHED = 0.93
"""Least R² of the place at the last ticks at which a belief counts as learnt; the gated one's threshold."""
NOT_BLIND = 0.9
"""Least R² of the place within the room, read from the frozen percept."""
FAR, CONTROL = 0.9, 0.3
"""Least success on far errands of an agent with a learnt belief that replaces the gate; largest R² of the untrained one."""
TICKS = ((8, 48), (48, 120), (160, 240))
ROOM = 16.0  # units
EPISODES, STEPS, HOUSES, TEST_SEED = 500, 200, 100, 987654
ERRANDS = 100
FEW = ((100, 24, 64), (200, 64, 32))
SHORT = ((100, 24, 64), (300, 64, 32), (60, 160, 16))
LONG = ((150, 24, 64), (600, 64, 32), (200, 160, 16))
PARTS = ("off", "jump")


@dataclass(frozen=True)
class Row:
    """One belief.

    Attributes:
        belief: the class of the world model.
        settings: its settings.
        lengths: phases of the training: updates, length of a window, windows per batch.
        learnt: whether the belief may be chosen for the agent as a learnt one.
    """

    belief: type[Place] = RecurrentPlace
    settings: Mapping[str, Any] = field(default_factory=dict)
    lengths: tuple[tuple[int, int, int], ...] = SHORT
    learnt: bool = True


def recurrent(**settings: Any) -> dict[str, Any]:
    return {"width": 64, "readout": "sum", **settings}


NONE = {"anti_collapse": "none", "foresight": 0.0}
ROWS = {
    "gated": Row(Place, {}, ((500, 64, 32),), learnt=False),
    "free (no gate)": Row(Place, {"change": 1e-9}, LONG, learnt=False),
    "untrained GRU": Row(settings=recurrent(), lengths=(), learnt=False),
    "GRU, sum": Row(settings=recurrent(**NONE)),
    "GRU, sum, vicreg": Row(settings=recurrent(anti_collapse="vicreg")),
    "GRU, sum, none": Row(settings=recurrent(anti_collapse="none")),
    "GRU, sum, ema": Row(settings=recurrent(anti_collapse="ema")),
    "GRU, sum, sigreg": Row(settings=recurrent(anti_collapse="sigreg")),
    "GRU, sum, long": Row(settings=recurrent(**NONE), lengths=LONG),
    "GRU, linear": Row(settings=recurrent(readout="linear", **NONE)),
    "GRU, linear, long": Row(settings=recurrent(readout="linear", **NONE) | {"width": 128}, lengths=LONG),
    "GRU, sum, sees the action": Row(settings=recurrent(**NONE, sees_action=True), learnt=False),
    "RSSM, sum, BEST": Row(settings=recurrent(cell="rssm"), lengths=FEW),
}
METHODS = ("vicreg", "none", "ema", "sigreg")


def perception_of(store: Path) -> dict[str, Tensor]:
    """Train the perception of `agent=house` and return its weights."""
    later = [f"~learning.stages.{stage}" for stage in ("place", "dynamics", "policy")]
    return dict(learn(ami.compose(["agent=house", *later, "runtime=local", f"store={store}"])).weights["perception"])


def walks(perception: Path, test: bool) -> dict[str, Tensor]:
    """Collect walks: "percept" (E, T + 1, D), "action" (E, T, 2) and "truth" (E, T + 1, 2), in units."""
    more = ["world.kind=life", "world.battery=10000"] if test else []
    episodes, steps, seed = (HOUSES, max(TICKS[-1]), TEST_SEED) if test else (EPISODES, STEPS, 0)
    with collector(to_graph(ami.compose(["world=house", "agent=wanderer", *more])), seed) as agent:
        found: ReplayBuffer = collect(agent, episodes, steps, 100, seed)
    graph = to_graph(ami.compose(["agent=house"]))
    modules = Worker(graph, graph.order, 0, {"perception": safetensors.torch.load_file(perception)}).modules
    percepts = percepts_of(found, cast(Perception, modules["perception"])).rows(torch.arange(found.num_frames))
    return {"percept": percepts.view(episodes, steps + 1, -1),
            "action": found.column("action").view(episodes, steps + 1, 2)[:, :-1].clone(),
            "truth": found.column("truth").view(episodes, steps + 1, -1)[..., :2].clone()}


def r2(read: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return R² and the median error of an affine read-out, (E, T, D) to (E, T, 2): fitted and scored on halves of E."""
    half = len(read) // 2
    read = torch.cat([read, torch.ones_like(read[..., :1])], dim=-1).double()
    truth = truth.double()
    weights = torch.linalg.lstsq(read[:half].flatten(0, 1), truth[:half].flatten(0, 1)).solution
    error, wanted = read[half:] @ weights - truth[half:], truth[half:]
    return (1 - (error.square().sum() / (wanted - wanted.mean((0, 1))).square().sum()).item(),
            error.norm(dim=-1).median().item())


def made(row: Row, dims: Mapping[str, Any]) -> Place:
    torch.manual_seed(0)
    belief = row.belief(**row.settings)
    belief.set_up(dims)
    return belief


def train(belief: Place, row: Row, data: Mapping[str, Tensor]) -> float:
    """Train a belief with the loss `place` and return the CPU-seconds; AdamW, 2e-3, cosine, clipped at 1."""
    torch.manual_seed(0)
    begun = time.process_time()
    percepts, actions = data["percept"], data["action"]
    parameters = [value for part in PARTS for value in getattr(belief, part).parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3)
    belief.begin_learning()
    total, step = sum(count for count, _, _ in row.lengths), 0
    for count, length, batch in row.lengths:
        for _ in range(count):
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * (1 + math.cos(math.pi * step / total)) * min(1, (step + 1) / 50)
            episode = torch.randint(len(actions), (batch, 1))
            at = torch.randint(actions.shape[1] - length + 1, (batch, 1)) + torch.arange(length + 1)
            loss, _ = belief.place({"percept": percepts[episode, at], "action": actions[episode, at[:, :-1]]})
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            belief.after_step(step, total)
            step += 1
    return time.process_time() - begun


@torch.no_grad()
def probed(belief: Place, data: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Return R² and median error (units) of the place for the displacement since the start, per range of ticks."""
    before = torch.nn.functional.pad(data["action"], (0, 0, 1, 0))
    states, _ = belief.observe(data["percept"], before)
    place, truth = states[..., -2:] - states[:, :1, -2:], data["truth"] - data["truth"][:, :1]
    return {f"{first}-{last}": list(r2(place[:, first:last], truth[:, first:last])) for first, last in TICKS}


def figures_of(name: str, row: Row, dims: Mapping[str, Any], data: Mapping[str, Tensor], test: Mapping[str, Tensor],
               store: Path) -> dict[str, Any]:
    """Return a row's figures; a row that an interrupted run finished is read from the store."""
    kept, weights = store / "beliefs" / f"{name}.json", weights_of(store, name)
    if not kept.exists():
        belief = made(row, dims)
        seconds = train(belief, row, data) if row.lengths else 0.0
        kept.parent.mkdir(parents=True, exist_ok=True)
        state = {key: value.contiguous() for key, value in belief.state_dict().items() if not key.startswith(LEARNING_STATE)}
        safetensors.torch.save_file(state, weights)
        write_json(kept, {"cpu_seconds": seconds, "place": probed(belief, test), "settings": dict(row.settings),
                          "lengths": row.lengths})
    return dict(json.loads(kept.read_text()))


def weights_of(store: Path, name: str) -> Path:
    return store / "beliefs" / f"{name.replace(' ', '_')}.safetensors"


def success(row: Row, weights: Path, perception: Path, store: Path) -> dict[str, Any]:
    """Train dynamics and policy on a belief and return the agent's success on far errands."""
    option = "place" if row.belief is Place else "recurrent_place"
    overrides = ["agent=house", "perception=two_streams", f"perception.weights={perception}", "perception.frozen=true",
                 f"world_model={option}", f"world_model.weights='{weights}'",
                 *(f"world_model.{name}={value}" for name, value in row.settings.items())]
    begun = time.process_time()
    trained = learn(ami.compose([*overrides, "~learning.stages.eyes", "~learning.stages.place", "runtime=local",
                                 f"store={store}"]))
    seconds = time.process_time() - begun
    found = evaluate_agent(overrides, trained.weights, of_kind(manifest_of(ERRANDS, "agent=house"), ["far"]), 0)
    rate = found.kinds()["far"]["success"]
    low, high = wilson(round(rate * ERRANDS), ERRANDS)
    return {"far": rate, "wilson": [low, high], "n": ERRANDS, "cpu_seconds_of_dynamics_and_policy": seconds}


def shown(name: str, row: Mapping[str, Any]) -> str:
    cells = "".join(f"{value:>8.3f} ({error:4.1f})" for value, error in row["place"].values())
    return f"{name:28}{row['cpu_seconds']:8.0f}{cells}" + (f"{100 * row['agent']['far']:8.0f} %" if "agent" in row else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a folder for what is cached; by default temporary")
    parser.add_argument("--perception", type=Path, help="safetensors file of a trained perception")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or Path(folder)
        perception = given.perception or Path(folder) / "perception.safetensors"
        if given.perception is None:
            safetensors.torch.save_file(perception_of(store), perception)
        return compared(perception, store)


def compared(perception: Path, store: Path) -> int:
    data, test = walks(perception, test=False), walks(perception, test=True)
    dims = {"P": data["percept"].shape[2:], "S": (data["percept"].shape[-1] + 2,), "A": 2, "U": 2}
    dims["Q"] = dims["S"]
    dot = r2(test["percept"], test["truth"] % ROOM)[0]
    print(f"place within the room, from the percept: R² {dot:.3f}")
    rows: dict[str, dict[str, Any]] = {}
    chosen: dict[str, Row] = {}

    def last(name: str) -> float:
        return rows[name]["place"]["-".join(map(str, TICKS[-1]))][0]

    def write() -> None:
        record("beliefs", {"thresholds": {"reached": REACHED, "not_blind": NOT_BLIND, "far": FAR, "control": CONTROL},
                           "dot_in_room_r2": dot, "seed": 0, "rows": rows})

    for name, row in ROWS.items():
        if name.endswith("BEST"):
            method = max(METHODS, key=lambda method: last(f"GRU, sum, {method}"))
            name, row = name.replace("BEST", method), replace(row, settings={**row.settings, "anti_collapse": method})
        rows[name], chosen[name] = figures_of(name, row, dims, data, test, store), row
        print(shown(name, rows[name]), flush=True)
        write()
    best = sorted((name for name, row in chosen.items() if row.learnt), key=last)[:-3:-1]
    for name in (*best, "gated"):
        rows[name]["agent"] = success(chosen[name], weights_of(store, name), perception, store)
        print(shown(name, rows[name]), flush=True)
        write()
    verdicts = {"the percept is not blind": dot >= NOT_BLIND,
                "the untrained belief knows no place": last("untrained GRU") <= CONTROL,
                "a learnt belief knows the place as long as the gated one": last(best[0]) >= REACHED,
                "its agent succeeds on far errands": rows[best[0]]["agent"]["far"] >= FAR}
    for claim, met in verdicts.items():
        print(f"{'as expected' if met else 'NOT REACHED'}  {claim}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
