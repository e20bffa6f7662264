"""The one table of a run. Every figure in it comes from the summary, which is also written to `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from ami.evaluation.evaluate import Evaluation

AGENT = "agent"
BASELINES = ("random", "straight_line", "oracle", "teacher", "untrained")


def summary(evaluations: Mapping[str, Evaluation], *, manifest_hash: str, seed: int, learning_seconds: float = 0.0,
            trace_digest: str | None = None) -> dict[str, Any]:
    """Every figure of a run as plain values: the contract for scripts.

    Args:
        evaluations: by name, "agent" and any baselines, all on the manifest with `manifest_hash`.
        learning_seconds: what learning took when it was done, which a cached agent remembers; 0 when nothing learns.
        trace_digest: None when nothing was traced.

    Returns:
        {name: {kind: {"n", "success", "low", "high", "mean_steps", "return", "return_low", "return_high"}},
        "model_steps_per_plan", "ms_per_decision", "learning_seconds", "trace_digest", "manifest_hash", "seed",
        "details": {name: {…}}}. A baseline's details hold the paired tests against the agent, by kind: of success, where the
        world tells it, and of the return.
    """
    agent = evaluations[AGENT]
    figures: dict[str, Any] = {name: evaluation.kinds() for name, evaluation in evaluations.items()}
    details: dict[str, Any] = {}
    for name, evaluation in evaluations.items():
        details[name] = {"model_steps_per_plan": evaluation.model_steps_per_plan,
                         "ms_per_decision": evaluation.ms_per_decision, "decisions": evaluation.decisions,
                         "plans": evaluation.plans}
        if name != AGENT:
            details[name]["paired_with_agent"] = {
                kind: _tests(agent, name, evaluation, kind) for kind in figures[AGENT]}
    return figures | {
        "model_steps_per_plan": agent.model_steps_per_plan, "ms_per_decision": agent.ms_per_decision,
        "learning_seconds": learning_seconds, "trace_digest": trace_digest,
        "manifest_hash": manifest_hash, "seed": seed, "details": details}


def judged_by(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run is judged by: "success" where the world tells it, "return" where that says something else.

    A world whose only reward is 1 on success has returns that repeat its success.
    """
    return measures([figures for name in (AGENT, *BASELINES) if name in summary for figures in summary[name].values()])


def measures(everyone: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What figures by kind are judged by; see `judged_by`."""
    if any(figures["success"] is None for figures in everyone):
        return ("return",)
    repeats = all(figures.get("return", figures["success"]) == figures["success"] for figures in everyone)
    return ("success",) if repeats else ("success", "return")


def results_table(summary: Mapping[str, Any]) -> Table:
    """The table for the terminal, 80 columns: a row per agent; per kind its success, its return or both, with intervals."""
    kinds, judged = list(summary[AGENT]), judged_by(summary)
    counts = ", ".join(f"{summary[AGENT][kind]['n']} {words(kind)}" for kind in kinds)
    what = " and ".join("mean return" if measure == "return" else measure for measure in judged)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title_justify="left", caption_justify="left",
                  title=f"{what[0].upper()}{what[1:]} on {counts} pairs, with 95 % intervals",
                  caption=f"manifest {summary['manifest_hash']}, seed {summary['seed']}; model steps per plan, "
                          "wall milliseconds per decision")
    table.add_column("", no_wrap=True)
    columns = [(kind, measure) for kind in kinds for measure in judged]
    for kind, measure in columns:
        table.add_column(f"{words(kind)}\nreturn" if measure == "return" else words(kind), justify="right", no_wrap=True)
    table.add_column("model\nsteps", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for name in (AGENT, *BASELINES):
        if name not in summary:
            continue
        cells = [mean_return(summary[name][kind]) if measure == "return" else percent(summary[name][kind])
                 for kind, measure in columns]
        cost = summary["details"][name]
        cells += [f"{cost['model_steps_per_plan']:.0f}" if cost["model_steps_per_plan"] else "–",
                  f"{cost['ms_per_decision']:.2f}"]
        table.add_row(words(name), *cells, style="bold" if name == AGENT else None)
    return table


def percent(figures: Mapping[str, Any]) -> str:
    """`98.5 % [96.4, 99.4]`."""
    return "{} % [{}, {}]".format(*(f"{100 * figures[name]:.1f}".replace("100.0", "100")
                                    for name in ("success", "low", "high")))


def mean_return(figures: Mapping[str, Any]) -> str:
    """`-152.3 [-160.1, -144.5]`."""
    return "{:.4g} [{:.4g}, {:.4g}]".format(*(figures[name] for name in ("return", "return_low", "return_high")))


def _tests(agent: Evaluation, name: str, other: Evaluation, kind: str) -> dict[str, Any]:
    """The paired tests of the agent against a baseline on one kind of pair."""
    tests: dict[str, Any] = {}
    if agent.tells_success:
        success = agent.against(other, kind)
        tests = {"only_agent": success.only_first, f"only_{name}": success.only_second, "p": success.p}
    return {**tests, "return": agent.returns_against(other, kind)._asdict()}


def words(name: str) -> str:
    """A name of the record as one says it."""
    return name.replace("_", " ")
