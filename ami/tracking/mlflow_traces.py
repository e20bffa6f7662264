"""Span trees as MLflow traces: missing ones are written, existing ones kept. Safe against a kill at any time."""

from __future__ import annotations

import json
from typing import Any

from ami.views.spans import Forest, Sample, Span, Tree

SPANS_AT_ONCE, TRACES_AT_ONCE = 500, 500
OF_RUN, NUM_SPANS, TREE = "ami.run", "ami.spans", "tr-"


def store_trees(client: Any, uri: str, forest: Forest, sample: Sample, experiment_id: str, run_id: str) -> int:
    """Store the trees of a sample that are missing or incomplete; return their number.

    A tree's spans are written first, in one transaction, then its search entry, in another. The entry holds the number of
    spans. Ids are derived from the run, so a tree that a kill left incomplete is overwritten, not duplicated.
    """
    whole = known_trees(client, experiment_id, run_id)
    stored, waiting, name = 0, list[Tree](), str(forest.header["run_id"])
    for tree in forest.trees(sample, whole):
        waiting.append(tree)
        if sum(len(one.spans) for one in waiting) >= SPANS_AT_ONCE:
            stored += _write(uri, waiting, experiment_id, run_id, name)
            waiting = []
    return stored + _write(uri, waiting, experiment_id, run_id, name)


def known_trees(client: Any, experiment_id: str, run_id: str) -> dict[str, int]:
    """Return the completely stored trees of a run, with their numbers of spans."""
    found: dict[str, int] = {}
    token = None
    while True:
        page = client.search_traces(locations=[experiment_id], filter_string=f"metadata.`{OF_RUN}` = '{run_id}'",
                                    max_results=TRACES_AT_ONCE, include_spans=False, page_token=token)
        found.update((trace.info.trace_id.removeprefix(TREE), int(trace.info.trace_metadata[NUM_SPANS]))
                     for trace in page if NUM_SPANS in trace.info.trace_metadata)
        token = page.token
        if not token:
            return found


def _write(uri: str, trees: list[Tree], experiment_id: str, run_id: str, name: str) -> int:
    import mlflow
    from mlflow.tracing.client import TracingClient

    if not trees:
        return 0
    client = TracingClient(uri)
    client.log_spans(experiment_id, [_span(mlflow, tree, span) for tree in trees for span in tree.spans])
    for tree in trees:
        client.start_trace(_entry(mlflow, tree, experiment_id, run_id, name))
    return len(trees)


def _span(mlflow: Any, tree: Tree, span: Span) -> Any:
    attributes = {"mlflow.traceRequestId": f"{TREE}{tree.id}", "mlflow.spanType": span.kind,
                  "mlflow.spanInputs": span.inputs, "mlflow.spanOutputs": span.outputs, **span.attributes}
    return mlflow.entities.Span.from_dict({
        "trace_id": f"{TREE}{tree.id}", "span_id": span.id, "parent_span_id": span.parent, "name": span.name,
        "start_time_unix_nano": span.start, "end_time_unix_nano": span.end, "events": [],
        "status": {"code": "ERROR" if span.fault else "OK", "message": span.fault},
        "attributes": {name: json.dumps(value) for name, value in attributes.items()},
        "links": [{"trace_id": f"{TREE}{link.tree}", "span_id": link.span,
                   "attributes": {"wire": link.wire, "message": link.message}} for link in span.links]})


def _entry(mlflow: Any, tree: Tree, experiment_id: str, run_id: str, name: str) -> Any:
    """Return a tree's search entry. Its figures are feedback, since MLflow searches only feedback by number.

    MLflow lists the entries of all runs together, so the preview names the run.
    """
    entities, root = mlflow.entities, tree.root
    source = entities.AssessmentSource(source_type="CODE", source_id="ami")
    begun = root.start // 1_000_000
    preview = ", ".join(f"{figure} {_short(value)}" for figure, value in tree.figures.items())
    feedback = []
    for figure, value in tree.figures.items():
        one = entities.Feedback(name=figure, value=value, source=source, trace_id=f"{TREE}{tree.id}", span_id=root.id,
                                create_time_ms=begun, last_update_time_ms=begun)
        one.assessment_id = f"a-{tree.id}-{figure}"  # a fixed id, so that repeated writes do not duplicate it
        feedback.append(one)
    return entities.TraceInfo(
        trace_id=f"{TREE}{tree.id}", trace_location=entities.TraceLocation.from_experiment_id(experiment_id),
        request_time=begun, execution_duration=(root.end - root.start) // 1_000_000,
        state=entities.TraceState.ERROR if root.fault else entities.TraceState.OK,
        request_preview=f"{name}: {tree.name}", response_preview=preview,
        trace_metadata={"mlflow.sourceRun": run_id, OF_RUN: run_id, NUM_SPANS: str(len(tree.spans))},
        tags={"mlflow.traceName": tree.name, "ami.kind": tree.kind, "ami.agent": tree.agent, "ami.wave": str(tree.wave)},
        assessments=feedback)


def _short(value: float | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.4g}"
