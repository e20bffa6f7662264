"""A comparison as a table for the terminal and as CSV. Every figure comes from `ami.evaluation.comparing.figures`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from ami.evaluation.table import mean_return, measures, percent, words

COLUMNS = ("variant", "kind", "seed", "n", "success", "low", "high", "mean_steps", "return", "return_low", "return_high",
           "success_difference", "success_p", "success_p_holm", "only_this", "only_other", "return_difference", "return_p",
           "return_p_holm", "model_steps_per_plan", "ms_per_decision", "learning_seconds", "manifest_hash", "reason")
COSTS = ("model_steps_per_plan", "ms_per_decision", "learning_seconds", "manifest_hash")
TESTS = {"success": "McNemar's exact test", "return": "Wilcoxon's signed-rank test"}


def compare_table(summary: Mapping[str, Any]) -> Table:
    """One row per variant: its success, return or both by kind, the test against the reference below; then what it cost.

    Args:
        summary: as `ami compare` writes it: "variants", "against", "seeds".
    """
    variants, against, seeds = summary["variants"], summary["against"], summary["seeds"]
    judged = judged_by(variants)
    columns = [(kind, measure) for kind in kinds_of(variants) for measure in judged]
    what = " and ".join("mean return" if measure == "return" else measure for measure in judged)
    tests = f"p: {' and '.join(TESTS[measure] for measure in judged)}, pair by pair against '{escape(against)}', " \
            "corrected for the number of variants (Holm)"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title_justify="left", caption_justify="left",
                  title=f"{what[0].upper()}{what[1:]} over {len(seeds)} training seed{'s' * (len(seeds) > 1)}, with 95 % "
                        "intervals",
                  caption=f"{counts(variants)}. {tests}. Model steps per plan, wall milliseconds per decision, minutes of "
                          "learning per seed.")
    table.add_column("", overflow="fold")
    for kind, measure in columns:
        table.add_column(f"{words(kind)}\nreturn" if measure == "return" else words(kind), justify="right", no_wrap=True)
    for name in ("model\nsteps", "ms", "learn\nmin"):
        table.add_column(name, justify="right", no_wrap=True)
    reasons: dict[str, list[str]] = {}
    for label, found in variants.items():
        if found.get("refused"):
            table.add_row(_lines(label), *["–"] * (len(columns) + 3), style="dim")
            reasons.setdefault("refused: " + first_reason(found["refused"]), []).append(label)
            continue
        cells = [_cell(found["kinds"].get(kind), measure, label == against) for kind, measure in columns]
        steps = found["model_steps_per_plan"]
        table.add_row(_lines(label), *cells, f"{steps:.0f}" if steps else "–", f"{found['ms_per_decision']:.2f}",
                      f"{found['learning_seconds'] / 60:.1f}" if found["learning_seconds"] else "–",
                      style="bold" if label == against else None)
        for reason in dict.fromkeys((figure["test"] or {}).get("reason") for figure in found["kinds"].values()):
            if reason:
                reasons.setdefault(reason, []).append(label)
    told = [escape(f"{', '.join(labels)}: {why}") for why, labels in reasons.items()]
    table.caption = "\n".join([str(table.caption), *told])
    return table


def compare_csv(summary: Mapping[str, Any]) -> str:
    """One line per variant and kind over all seeds (`seed` is "all"), one more per seed; a refused variant has one line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for label, found in summary["variants"].items():
        if found.get("refused"):
            writer.writerow({"variant": label, "reason": f"refused: {found['refused']}"})
            continue
        for kind, figure in found["kinds"].items():
            row = {"variant": label, "kind": kind}
            whole = {**figure, **_tests(figure["test"] or {}), **{name: found[name] for name in COSTS}}
            writer.writerow(row | {"seed": "all"} | {name: value for name, value in whole.items() if value is not None})
            for seed, own in figure["seeds"].items():
                writer.writerow(row | {"seed": seed, "n": figure["n"] // len(figure["seeds"])}
                                | {name: value for name, value in own.items() if value is not None})
    return text.getvalue()


def first_reason(refused: str) -> str:
    """A refusal in one line: of several mistakes the first, and how many more there are."""
    head, *rest = refused.split("\n")
    mistakes = [line for line in rest if line.startswith("  - ")]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return mistakes[0].removeprefix("  - ") + more if mistakes else head


def judged_by(variants: Mapping[str, Any]) -> tuple[str, ...]:
    """What a comparison is judged by: success, return or both; see `ami.evaluation.table.judged_by`."""
    return measures([figure for found in variants.values() for figure in found.get("kinds", {}).values()])


def kinds_of(variants: Mapping[str, Any]) -> list[str]:
    """The kinds of pair of all variants, in their order."""
    return list(dict.fromkeys(kind for found in variants.values() for kind in found.get("kinds", ())))


def counts(variants: Mapping[str, Any]) -> str:
    """How many episodes each figure stands on."""
    def of(kind: str) -> Iterator[int]:
        yield from {found["kinds"][kind]["n"] for found in variants.values() if kind in found.get("kinds", ())}

    named = [f"{' or '.join(map(str, of(kind)))} {'' if kind == 'episode' else words(kind)}" for kind in kinds_of(variants)]
    return ", ".join(text.strip() for text in named) + " episodes each"


def p_value(p: float) -> str:
    """`p = 0.031`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _tests(test: Mapping[str, Any]) -> dict[str, Any]:
    """A test's figures under the names of the columns."""
    named = {f"{measure}_{name}": value for measure in TESTS for name, value in test.get(measure, {}).items()}
    counted = {name: test["success"][name] for name in ("only_this", "only_other")} if "success" in test else {}
    # the interval of a difference is not that of the return itself
    return {name: value for name, value in named.items() if name not in ("return_low", "return_high")} | counted | {
        name: test[name] for name in ("reason",) if name in test}


def _lines(label: str) -> str:
    """Of a sweep, a key on each line."""
    words = label.split(" ")
    return escape("\n".join(words) if all("=" in word for word in words) else label)


def _cell(figure: Mapping[str, Any] | None, measure: str, is_reference: bool) -> str:
    if figure is None or figure[measure] is None:
        return "–"
    test = figure["test"] or {}
    below = "reference" if is_reference else p_value(test[measure]["p_holm"]) if measure in test else "–"
    return f"{mean_return(figure) if measure == 'return' else percent(figure)}\n[dim]{below}[/dim]"
