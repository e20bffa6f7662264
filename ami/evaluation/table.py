"""The one table of a run. Every figure in it comes from the summary, which is also written to `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from ami.evaluation.evaluate import Evaluation

AGENT = "agent"
BASELINES = ("random", "straight_line", "oracle", "untrained")


def summary(evaluations: Mapping[str, Evaluation], *, manifest_hash: str, seed: int, learning_seconds: float = 0.0,
            trace_digest: str | None = None) -> dict[str, Any]:
    """Every figure of a run as plain values: the contract for scripts.

    Args:
        evaluations: by name, "agent" and any baselines, all on the manifest with `manifest_hash`.
        learning_seconds: what learning took when it was done, which a cached agent remembers; 0 when nothing learns.
        trace_digest: None when nothing was traced.

    Returns:
        {name: {kind: {"n", "success", "low", "high", "mean_steps"}}, "model_steps_per_plan", "ms_per_decision",
        "learning_seconds", "trace_digest", "manifest_hash", "seed", "details": {name: {…}}}. A baseline's details hold
        the paired test against the agent, by kind.
    """
    agent = evaluations[AGENT]
    figures: dict[str, Any] = {name: evaluation.kinds() for name, evaluation in evaluations.items()}
    details: dict[str, Any] = {}
    for name, evaluation in evaluations.items():
        details[name] = {"model_steps_per_plan": evaluation.model_steps_per_plan,
                         "ms_per_decision": evaluation.ms_per_decision, "decisions": evaluation.decisions,
                         "plans": evaluation.plans}
        if name != AGENT:
            tests = {kind: agent.against(evaluation, kind) for kind in figures[AGENT]}
            details[name]["paired_with_agent"] = {
                kind: {"only_agent": test.only_first, f"only_{name}": test.only_second, "p": test.p}
                for kind, test in tests.items()}
    return figures | {
        "model_steps_per_plan": agent.model_steps_per_plan, "ms_per_decision": agent.ms_per_decision,
        "learning_seconds": learning_seconds, "trace_digest": trace_digest,
        "manifest_hash": manifest_hash, "seed": seed, "details": details}


def results_table(summary: Mapping[str, Any]) -> Table:
    """The table for the terminal, 80 columns: one row per agent; success per kind with its 95 % interval."""
    kinds = list(summary[AGENT])
    counts = ", ".join(f"{summary[AGENT][kind]['n']} {_words(kind)}" for kind in kinds)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title_justify="left", caption_justify="left",
                  title=f"Success on {counts} pairs, with 95 % intervals",
                  caption=f"manifest {summary['manifest_hash']}, seed {summary['seed']}; model steps per plan, "
                          "wall milliseconds per decision")
    table.add_column("", no_wrap=True)
    for kind in kinds:
        table.add_column(_words(kind), justify="right", no_wrap=True)
    table.add_column("model\nsteps", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    for name in (AGENT, *BASELINES):
        if name not in summary:
            continue
        cells: list[str] = []
        for kind in kinds:
            cells.append(percent(summary[name][kind]))
        cost = summary["details"][name]
        cells += [f"{cost['model_steps_per_plan']:.0f}" if cost["model_steps_per_plan"] else "–",
                  f"{cost['ms_per_decision']:.2f}"]
        table.add_row(_words(name), *cells, style="bold" if name == AGENT else None)
    return table


def percent(figures: Mapping[str, Any]) -> str:
    """`98.5 % [96.4, 99.4]`."""
    return "{} % [{}, {}]".format(*(f"{100 * figures[name]:.1f}".replace("100.0", "100")
                                    for name in ("success", "low", "high")))


def _words(name: str) -> str:
    return name.replace("_", " ")
