"""The results table of a run. Every figure comes from the summary, which is also written to `summary.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NotRequired, TypedDict

from ami.errors import TraceError
from ami.evaluation.kinds import differences
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.sheet import Sheet
from ami.storage.files import FileKind

AGENT = "agent"


class Details(TypedDict):
    """The summary's notes that are read back."""

    checkpoint: NotRequired[str | None]


class Summary(TypedDict):
    """The part of `summary.json` that is read back; see `summary` for the figures."""

    details: NotRequired[Details]


FILE = FileKind("a summary", TraceError, "run again", schema=Summary)
BASELINES = ("random", "straight_line", "oracle", "teacher", "untrained")


def agents_of(summary: Mapping[str, Any]) -> list[str]:
    """Return the names of a run's agent and baselines, in the order of its table; baselines of the user come last."""
    known = (AGENT, *BASELINES)
    others = [name for name in summary.get("details", ()) if name not in known]
    return [name for name in (*known, *others) if name in summary]


def summary(evaluations: Mapping[str, Evaluation], *, manifest_hash: str, seed: int, learning_seconds: float = 0.0,
            trace_digest: str | None = None) -> dict[str, Any]:
    """Return every figure of a run as plain values: the contract for scripts.

    Args:
        evaluations: by name, "agent" and any baselines, all on the manifest with `manifest_hash`.
        learning_seconds: duration of the training, also for a cached agent; 0 without training.
        trace_digest: None without a trace.

    Returns:
        {name: {kind: see `ami.evaluation.kinds.kinds_of`},
        "model_steps_per_plan", "ms_per_decision", "learning_seconds", "trace_digest", "manifest_hash", "seed",
        "details": {name: {…}}}. A baseline's details hold the paired tests against the agent, by kind: of success, if the
        world reports it, and of the return.
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
    """Return the measures of a run: "success" if the world reports it, "return" unless it equals success.

    In a world whose only reward is 1 on success, return equals success.
    """
    return measures([figures for name in agents_of(summary) for figures in summary[name].values()])


def measures(everyone: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the measures of figures by kind; see `judged_by`."""
    if any(figures["success"] is None for figures in everyone):
        return ("return",)
    repeats = all(figures.get("return", figures["success"]) == figures["success"] for figures in everyone)
    return ("success",) if repeats else ("success", "return")


def results_table(summary: Mapping[str, Any]) -> Sheet:
    """Return the table for the terminal: a row per agent; success, return or both by kind, mean steps and metrics, with
    intervals."""
    kinds, judged = list(summary[AGENT]), judged_by(summary)
    names = agents_of(summary)
    counts = ", ".join(f"{summary[AGENT][kind]['n']} {words(kind)}" for kind in kinds)
    what = " and ".join("mean return" if measure == "return" else measure for measure in judged)
    columns, metrics = columns_of(kinds, judged), metric_columns([summary[name] for name in names], kinds)
    if any("failed" in figures for name in names for figures in summary[name].values()):
        metrics.append(("failed\nworlds", _failed))
    sheet = Sheet(f"{what[0].upper()}{what[1:]} on {counts} pairs, with 95 % intervals",
                  ["", *(header for header, _ in columns), "model\nsteps", "ms", *(header for header, _ in metrics)],
                  f"manifest {summary['manifest_hash']}, seed {summary['seed']}; {mean_steps(kinds, judged)}; model steps "
                  "per planned decision; ms: wall milliseconds per decision")
    for name in names:
        cost = summary["details"][name]
        steps = cost["model_steps_per_plan"]
        sheet.add(words(name), [*(cell(summary[name]) for _, cell in columns), f"{steps:.0f}" if steps else "–",
                                digits(cost["ms_per_decision"]), *(cell(summary[name]) for _, cell in metrics)],
                  "bold" if name == AGENT else None)
    return sheet


Cell = Callable[[Mapping[str, Any]], str]
"""Map from an agent's figures by kind to a cell."""


def columns_of(kinds: Sequence[str], judged: Sequence[str]) -> list[tuple[str, Cell]]:
    """Return the first columns of both tables, as (header, cell): measures by kind, and mean steps."""
    columns = [(f"{words(kind)}\nreturn" if measure == "return" else words(kind), partial(_measure, kind, measure))
               for kind in kinds for measure in judged]
    return [*columns, ("mean\nsteps", partial(_steps, kinds))]


def metric_columns(everyone: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> list[tuple[str, Cell]]:
    """Return the last columns of both tables: metrics by kind, as (header, cell).

    Args:
        everyone: the figures by kind of each agent.
    """
    names = list(dict.fromkeys(name for figures in everyone for figure in figures.values()
                               for name in figure.get("metrics", {})))
    return [(f"{words(kind)}\n{name}" if len(kinds) > 1 else name, partial(_metric, kind, name))
                      for name in names for kind in kinds]


def _measure(kind: str, measure: str, figures: Mapping[str, Any]) -> str:
    figure = figures.get(kind)
    if figure is None or figure[measure] is None:
        return "–"
    return mean_return(figure) if measure == "return" else percent(figure)


def mean_steps(kinds: Sequence[str], judged: Sequence[str]) -> str:
    """Return the caption of the column of mean steps."""
    order = f", {' / '.join(map(words, kinds))}" if len(kinds) > 1 else ""
    return f"mean steps: of {'solved' if 'success' in judged else 'all'} episodes{order}"


def _failed(figures: Mapping[str, Any]) -> str:
    """Return the number of episodes whose environment failed."""
    return str(sum(figure.get("failed", 0) for figure in figures.values()))


def _steps(kinds: Sequence[str], figures: Mapping[str, Any]) -> str:
    """Return the mean steps of each kind, in the order of the columns before."""
    return " / ".join("–" if (steps := figures.get(kind, {}).get("mean_steps")) is None else digits(steps) for kind in kinds)


def digits(value: float) -> str:
    """Format a number: two decimals below 10, one below 100."""
    return f"{value:.{max(0, 2 - len(str(int(abs(value)))) + 1)}f}"


def _metric(kind: str, name: str, figures: Mapping[str, Any]) -> str:
    metric = figures.get(kind, {}).get("metrics", {}).get(name)
    return "–" if metric is None else interval(metric["mean"], metric["low"], metric["high"])


def percent(figures: Mapping[str, Any]) -> str:
    """`98.5 % [96.4, 99.4]`."""
    return "{} % [{}, {}]".format(*(f"{100 * figures[name]:.1f}".replace("100.0", "100")
                                    for name in ("success", "low", "high")))


def mean_return(figures: Mapping[str, Any]) -> str:
    """`-152.3 [-160.1, -144.5]`."""
    return interval(*(figures[name] for name in ("return", "return_low", "return_high")))


def interval(mean: float, low: float, high: float) -> str:
    """Format a mean with its interval, four digits each."""
    return f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def _tests(agent: Evaluation, name: str, other: Evaluation, kind: str) -> dict[str, Any]:
    """Return the paired tests of the agent against a baseline on one kind of pair."""
    found = differences([agent], [other], kind)
    success = found.pop("success", None)
    if success is None:
        return found
    return {"only_agent": success["only_this"], f"only_{name}": success["only_other"], "p": success["p"], **found}


def words(name: str) -> str:
    """Return a name with spaces instead of underscores."""
    return name.replace("_", " ")
