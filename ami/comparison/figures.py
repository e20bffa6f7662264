"""The figures of a comparison, from the evaluations of its variants on the same pairs and seeds.

A variant has one evaluation per training seed. A paired test compares each episode with the same pair run by the other
variant's agent of the same seed. With several seeds the seed is the unit: see `ami.evaluation.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ami.evaluation.kinds import differences, kinds_of
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.statistics import holm

MEASURES, PER_SEED = ("success", "return"), ("success", "mean_steps", "return")


@dataclass(frozen=True)
class VariantResult:
    """The results of one variant.

    Attributes:
        evaluations: by training seed.
        learning_seconds: duration of the training, by training seed.
        pairs: hash of the world's id and the pairs: equal for equal starts, goals and seeds.
        manifest: the hash of the manifest, which includes the world's settings.
    """

    evaluations: Mapping[int, Evaluation]
    learning_seconds: Mapping[int, float]
    pairs: str
    manifest: str


def figures(results: Mapping[str, VariantResult], refused: Mapping[str, str], against: str) -> dict[str, Any]:
    """Return every figure of a comparison as plain values: the contract for scripts.

    Args:
        results: the results of each variant, by label, in the order of the table.
        refused: the reason of each refusal, by label.
        against: the label of the reference variant.

    Returns:
        {label: {"refused"} or {"kinds": {kind: {…, "seeds", "test"}}, "model_steps_per_plan", "ms_per_decision",
        "learning_seconds", "manifest_hash"}}. A kind's figures are those of `ami.evaluation.kinds.kinds_of`; "seeds" has
        "success", "mean_steps", "return" and "metrics" by training seed. "test" is None for the reference and {"reason"}
        if no test is possible; else the result of `ami.evaluation.kinds.differences`, of success and return with "p_holm",
        corrected for all variants tested on this kind.
    """
    found: dict[str, Any] = {label: {"refused": reason} for label, reason in refused.items()}
    found |= {label: _one(one) for label, one in results.items()}
    reference = results.get(against)
    if reference is not None:
        for label, one in results.items():
            if label != against:
                _test(found[label]["kinds"], one, reference)
        for kind in found[against]["kinds"]:
            for measure in MEASURES:
                tests = [found[label]["kinds"].get(kind, {}).get("test") for label in results]
                made = [test[measure] for test in tests if test and measure in test]
                for one_test, p in zip(made, holm([one_test["p"] for one_test in made]), strict=True):
                    one_test["p_holm"] = p
    return found


def gain(found: Mapping[str, Any]) -> float:
    """Return a variant's gain over the reference, summed over kinds, by success or else by return; -∞ for the reference,
    ∞ for refused variants."""
    if "kinds" not in found:
        return math.inf
    tests = [figure["test"] for figure in found["kinds"].values()]
    if None in tests:
        return -math.inf
    return sum(float((test.get("success") or test.get("return") or {"difference": 0.0})["difference"]) for test in tests)


def _one(one: VariantResult) -> dict[str, Any]:
    evaluations = list(one.evaluations.values())
    total = pooled(evaluations)
    kinds = kinds_of(evaluations)
    by_seed = {str(seed): evaluation.kinds() for seed, evaluation in one.evaluations.items()}
    for kind, figure in kinds.items():
        figure["seeds"] = {seed: {name: own[kind][name] for name in PER_SEED} | (
            {"metrics": {name: values["mean"] for name, values in own[kind]["metrics"].items()}}
            if "metrics" in own[kind] else {}) for seed, own in by_seed.items()}
        figure["test"] = None
    learning = sum(one.learning_seconds.values()) / len(one.learning_seconds)
    return {"kinds": kinds, "model_steps_per_plan": total.model_steps_per_plan, "ms_per_decision": total.ms_per_decision,
            "learning_seconds": learning, "manifest_hash": one.manifest}


def _test(kinds: dict[str, Any], one: VariantResult, other: VariantResult) -> None:
    for kind, figure in kinds.items():
        if one.pairs != other.pairs:
            figure["test"] = {"reason": "other pairs: its episodes have other starts or goals"}
            continue
        mine, theirs = ([side.evaluations[seed] for seed in one.evaluations] for side in (one, other))
        figure["test"] = differences(mine, theirs, kind)


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Pool the episodes of several seeds as one evaluation."""
    return Evaluation(tuple(outcome for evaluation in evaluations for outcome in evaluation.outcomes),
                      decisions=sum(one.decisions for one in evaluations), plans=sum(one.plans for one in evaluations),
                      model_steps=sum(one.model_steps for one in evaluations),
                      seconds=sum(one.seconds for one in evaluations))

