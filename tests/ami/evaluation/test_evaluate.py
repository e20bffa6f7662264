import threading
from collections.abc import Callable

import pytest
import torch

from ami.agent import Agent
from ami.errors import SettingError
from ami.evaluation.evaluate import Progress, evaluate, evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import EpisodeRecord, Metric
from ami.evaluation.outcomes import Evaluation, Outcome
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from tests.support.scripted import ScriptedGraph

WATCH = ("planner.model_steps",)


class Scripted:
    """An agent with scripted flags: ends[episode] = (tick, success); None never ends."""

    def __init__(self, ends: dict[int, tuple[int, bool] | None], fails_at: int | None = None, watched: bool = True,
                 every: int = 1) -> None:
        self.ends, self.fails_at, self.watched = ends, fails_at, watched
        self.graph = ScriptedGraph({"planner": every})
        self.episodes: list[int] = []

    def reset(self, mask, episodes, wave=None):
        if mask.all():
            self.now, self.ages, self.batches = [0] * len(mask), [0] * len(mask), [*getattr(self, "batches", []), len(mask)]
        for row in mask.nonzero()[:, 0].tolist():
            self.now[row], self.ages[row] = episodes[row].number, -1
            self.episodes.append(episodes[row].number)
        self.tick = -1 if mask.all() else self.tick

    def cycle(self, most=1):
        self.tick += 1
        self.ages = [age + 1 for age in self.ages]
        if self.tick == self.fails_at:
            raise RuntimeError("the agent failed")
        over = [self.ends[n] is not None and age >= self.ends[n][0] for n, age in zip(self.now, self.ages, strict=True)]
        won = [o and self.ends[n][1] for o, n in zip(over, self.now, strict=True)]
        moment = {"world.success": torch.tensor(won), "world.reward": torch.tensor([-1.5 - n for n in self.now]),
                  "world.terminated": torch.tensor(won),
                  "world.truncated": torch.tensor(over) & ~torch.tensor(won)}
        return moment | ({"planner.model_steps": torch.tensor([10 * (n + 1) for n in self.now])} if self.watched else {})


def manifest_of(*kinds: str) -> Manifest:
    return Manifest("world", {}, 0, tuple({"kind": kind, "seed": i} for i, kind in enumerate(kinds)))


def test_held_plan_is_counted_once() -> None:
    manifest = manifest_of("near", "far")
    every_tick, rarely = (evaluate([Scripted({0: (6, True), 1: (6, True)}, every=every)], manifest, 2) for every in (1, 3))
    assert (every_tick.decisions, every_tick.plans, every_tick.model_steps) == (12, 12, 6 * 10 + 6 * 20)
    assert (rarely.decisions, rarely.plans, rarely.model_steps) == (12, 4, 2 * 10 + 2 * 20)
    assert rarely.model_steps_per_plan == 15


def test_model_steps_of_all_planners_are_counted_at_their_own_pace() -> None:
    class Two(Scripted):
        """A slow planner above a fast one, with arbitrary names."""

        def __init__(self) -> None:
            super().__init__({0: (6, True)}, watched=False)
            self.graph = ScriptedGraph({"low": 1, "high": 3})

        def cycle(self, most=1):
            return super().cycle() | {"low.model_steps": torch.tensor([10]), "high.model_steps": torch.tensor([100])}

    evaluation = evaluate([Two()], manifest_of("near"), 1)
    assert (evaluation.decisions, evaluation.plans, evaluation.model_steps) == (6, 6, 6 * 10 + 2 * 100)


def test_planners_are_found_by_type(tiny_agent: Callable[..., Graph]) -> None:
    assert evaluation_ports(tiny_agent(observe="state")) == ("planner.model_steps",)


def test_metrics_are_computed_per_episode(tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state")
    manifest = Manifest.make(graph.drafts["world"], 5, 2)
    seen: list[EpisodeRecord] = []

    def ticks(episode: EpisodeRecord) -> float:
        seen.append(episode)
        return len(episode.ports["actor.action"])

    metrics = (Metric("planner.energy", ("planner.energy",)), Metric("ticks", ("actor.action",), ticks))
    with Agent(LocalRuntime(graph, 0, watch=("planner.energy", "actor.action"))) as agent:
        evaluation = evaluate([agent], manifest, 4, metrics=metrics)
    assert [outcome.metrics["ticks"] for outcome in evaluation.outcomes] == [o.steps + 1 for o in evaluation.outcomes]
    assert {record.steps for record in seen} == {outcome.steps for outcome in evaluation.outcomes}
    energies = evaluation.metric("planner.energy")
    found = Evaluation(evaluation.outcomes, 1, 0, 0, 1.0).kinds()[evaluation.outcomes[0].kind]["metrics"]["planner.energy"]
    assert found["low"] <= found["mean"] <= found["high"] and min(energies) <= found["mean"] <= max(energies)


def test_row_counts_until_it_is_over() -> None:
    agent = Scripted({0: (1, True), 1: (3, False)})
    evaluation = evaluate([agent], manifest_of("near", "far"), batch=2)
    assert evaluation.outcomes == (Outcome("near", True, 1, -3.0), Outcome("far", False, 3, -10.0))
    assert evaluation.decisions == 1 + 3
    assert evaluation.model_steps == 10 + 3 * 20
    assert evaluation.model_steps_per_plan == 70 / 4
    assert evaluation.ms_per_decision == pytest.approx(1000 * evaluation.seconds / 4)


def test_no_model_steps_without_a_planner() -> None:
    assert evaluate([Scripted({0: (2, True)}, watched=False)], manifest_of("near"), batch=1).model_steps_per_plan == 0


def test_figures_by_kind() -> None:
    outcomes = (Outcome("near", True, 4), Outcome("near", True, 6), Outcome("far", True, 9), Outcome("far", False, 60))
    kinds = Evaluation(outcomes, decisions=79, plans=0, model_steps=0, seconds=1.0).kinds()
    assert list(kinds) == ["near", "far"]
    assert kinds["near"] == {"n": 2, "success": 1.0, "low": pytest.approx(0.34238, abs=1e-5), "high": 1.0, "mean_steps": 5.0,
                             "return": 0.0, "return_low": 0.0, "return_high": 0.0}
    assert kinds["far"]["success"] == 0.5 and kinds["far"]["mean_steps"] == 9.0


def test_no_mean_steps_without_solved_pairs() -> None:
    assert Evaluation((Outcome("far", False, 60),), 60, 0, 0, 1.0).kinds()["far"]["mean_steps"] is None


def test_world_without_success_is_judged_by_returns() -> None:
    manifest = Manifest("world", {}, 0, ({"kind": "episode", "seed": 0}, {"kind": "episode", "seed": 1}), False)
    evaluation = evaluate([Scripted({0: (1, True), 1: (3, True)})], manifest, batch=2)
    assert evaluation.outcomes == (Outcome("episode", None, 1, -3.0), Outcome("episode", None, 3, -10.0))
    (figures,) = evaluation.kinds().values()
    assert figures["success"] is None and figures["low"] is None and figures["return"] == -6.5
    better = Evaluation(tuple(o._replace(ret=o.ret + 1) for o in evaluation.outcomes), 4, 0, 0, 1.0)
    assert better.returns_against(evaluation)[:3] == (1.0, 1.0, 1.0)


def test_two_agents_are_compared_on_the_same_pairs() -> None:
    kinds = ("near", "near", "far", "far")
    one, two = (Evaluation(tuple(Outcome(k, s, 1) for k, s in zip(kinds, wins, strict=True)), 4, 0, 0, 1.0)
                for wins in ((True, True, True, False), (True, False, False, False)))
    assert one.against(two)[:2] == (2, 0)
    assert one.against(two, "near")[:2] == (1, 0)


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("agents", [1, 3])
def test_outcomes_do_not_depend_on_batch_or_number_of_agents(
        tiny_agent: Callable[..., Graph], batch: int, agents: int) -> None:
    graph = tiny_agent(observe="state")
    manifest = Manifest.make(graph.drafts["world"], 5, 4)
    runners = [Agent(LocalRuntime(graph, 0, watch=WATCH)) for _ in range(agents)]
    evaluation = evaluate(runners, manifest, batch)
    alone = evaluate([Agent(LocalRuntime(graph, 0))], manifest, 1)
    assert evaluation.outcomes == alone.outcomes
    assert all(outcome.success for outcome in evaluation.outcomes)
    assert evaluation.model_steps_per_plan == 12


def test_every_wave_is_run_once() -> None:
    agents = [Scripted(dict.fromkeys(range(9), (1, True))) for _ in range(3)]
    assert evaluate(agents, manifest_of(*["near"] * 9), batch=2).successes() == [True] * 9
    assert sorted(number for agent in agents for number in agent.episodes) == list(range(9))


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 9])
def test_refilled_rows_give_the_outcomes_of_waves(batch: int) -> None:
    ends = {0: (3, True), 1: (1, False), 2: (7, True), 3: (2, True), 4: (1, True), 5: (4, False), 6: (1, True)}
    manifest = manifest_of(*["near", "far"] * 3, "near")
    waves, refilled = Scripted(ends), Scripted(ends)
    one, two = evaluate([waves], manifest, batch), evaluate([refilled], manifest, batch, refill=True)
    assert one.outcomes == two.outcomes
    assert (one.decisions, one.plans, one.model_steps) == (two.decisions, two.plans, two.model_steps)
    assert refilled.episodes == sorted(refilled.episodes) and len(refilled.episodes) == 7


def test_metrics_of_a_refilled_row_are_those_of_its_episode(tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state")
    manifest = Manifest.make(graph.drafts["world"], 5, 4)
    metrics = (Metric("planner.energy", ("planner.energy",)),
               Metric("ticks", ("actor.action",), lambda episode: len(episode.ports["actor.action"])))
    found = []
    for refill in (False, True):
        with Agent(LocalRuntime(graph, 0, watch=("planner.energy", "actor.action", *WATCH))) as agent:
            found.append(evaluate([agent], manifest, 3, metrics=metrics, refill=refill))
    assert found[0].outcomes == found[1].outcomes and found[0].model_steps == found[1].model_steps
    assert [outcome.metrics["ticks"] for outcome in found[1].outcomes] == [o.steps + 1 for o in found[1].outcomes]


def test_a_pair_solved_at_the_start_of_a_refilled_row_is_refused() -> None:
    with pytest.raises(SettingError, match=r"1 of the manifest's pairs are solved at the start: 1 \{'kind': 'far'"):
        evaluate([Scripted({0: (1, True), 1: (0, True)})], manifest_of("near", "far"), batch=1, refill=True)


def test_progress_is_reported_in_the_calling_thread() -> None:
    reports: list[tuple[Progress, threading.Thread]] = []
    agent = Scripted({0: (1, True), 1: (1, False), 2: (1, True)})
    evaluate([agent], manifest_of(*["near"] * 3), 1, lambda progress: reports.append((progress, threading.current_thread())))
    assert reports[-1][0] == Progress(finished=3, total=3, succeeded=2, total_return=-2 * (1.5 + 2.5 + 3.5))
    assert {thread for _, thread in reports} == {threading.current_thread()}


def test_error_in_one_agent_stops_all_and_is_raised() -> None:
    endless = Scripted(dict.fromkeys(range(4), None))
    with pytest.raises(RuntimeError, match="the agent failed"):
        evaluate([Scripted(dict.fromkeys(range(4), None), fails_at=3), endless], manifest_of(*["near"] * 4), batch=2)
    assert not any(thread.name.startswith("agent") for thread in threading.enumerate())


def test_ctrl_c_stops_all_agents() -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    endless = Scripted({0: (1, True), 1: None})
    with pytest.raises(KeyboardInterrupt):
        evaluate([endless], manifest_of("near", "near"), batch=2, on_progress=interrupt)
    assert not any(thread.name.startswith("agent") for thread in threading.enumerate())


def test_pair_solved_at_the_start_is_refused() -> None:
    with pytest.raises(SettingError, match=r"1 of the manifest's pairs are solved at the start: 1 \{'kind': 'far'"):
        evaluate([Scripted({0: (1, True), 1: (0, True)})], manifest_of("near", "far"), batch=2)


def test_no_agent_is_refused() -> None:
    with pytest.raises(SettingError, match="evaluate got no agent: expected one or more"):
        evaluate([], manifest_of("near"), batch=1)
