"""The contract of every module: the engine's requirements."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from ami.blueprint import World
from ami.graph.prune import ignored_inputs
from ami.module import Module
from ami.testing.methods import check_callable_methods
from ami.testing.report import Report
from ami.testing.subject import Inputs, Make, Outputs, Sizes, Subject, copied, difference, rows

TICKS = 4
IGNORES = "an input that it ignores changes nothing"
OF_ITS_PORTS = ("step() returns a dict of its outputs", "its outputs fit its ports", "its outputs are finite",
                "it sends what its ports declare", "its carry is batch-first")


def check_module(make: Make, *, dims: Sizes | None = None, calls: Mapping[str, Module] | None = None,
                 batch: int = 3, report: Report | None = None) -> Subject:
    """Check the promises of every module.

    Its outputs fit its ports and are finite · it never changes its inputs or earlier outputs · the same seed gives
    the same outputs · a row alone gives the same outputs as in a batch · reset clears the masked rows and no others · it
    continues from a snapshot · its callable methods are pure · saved weights give the same module · an input that it
    declares in `ignores` changes nothing.

    Args:
        make: factory of the module: a class whose settings have defaults, or a function without arguments.
        dims: sizes to use, by symbol, such as {"S": (6,), "A": 2}.
        calls: modules to bind to its calls, by name, in place of stubs.
        batch: B.
        report: collects the findings; None raises at the first broken promise.

    Returns:
        The examined subject, for further checks.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = Subject(make, dims, calls, report)
    sequence = subject.sample_inputs(batch, TICKS)
    with subject.keeps("it runs with inputs from its ports", *OF_ITS_PORTS, vital=True):
        _check_ports(subject, sequence)
    with subject.keeps("it runs without its optional inputs", *OF_ITS_PORTS):
        _check_ports(subject, subject.sample_inputs(batch, TICKS, optional=False))
    with subject.keeps("it leaves its inputs as they are", "it never changes a message it has sent"):
        _check_messages_stay(subject, sequence)
    check_determinism(subject, sequence)
    check_row_alone(subject, sequence)
    with subject.keeps("a reset row keeps nothing of its old episode", "reset leaves the other rows alone"):
        _check_reset(subject, sequence)
    if not isinstance(subject.draft, World):
        with subject.keeps("it continues identically from a snapshot"):
            _check_snapshot(subject, sequence)
    check_callable_methods(subject, batch)
    with subject.keeps("its saved weights give the same module"):
        _check_weights(subject, sequence)
    ignored = ignored_inputs(type(subject.draft))
    if ignored:
        with subject.keeps(IGNORES):
            _check_ignored(subject, sequence, ignored)
    return subject


def _check_ports(subject: Subject, sequence: Sequence[Inputs]) -> None:
    batch = _batch(sequence)
    module = subject.fresh(range(batch))
    outputs: Outputs = {}
    for inputs in sequence:
        with torch.no_grad():
            outputs = module.step(**copied(subject.fitting(inputs, outputs)))
        if not isinstance(outputs, Mapping):
            subject.broken("step() returns a dict of its outputs", f"it returns a {type(outputs).__name__}",
                           f"return {{{', '.join(module.outputs)}}}")
        for name, port in module.outputs.items():
            try:
                port.validate(f"{subject.name}.{name}", outputs.get(name), module.dims, batch)
            except ValueError as error:
                subject.broken("its outputs fit its ports", str(error), "return such a tensor from step()")
            if not bool(torch.isfinite(outputs[name]).all()):
                subject.broken("its outputs are finite", f"a number of '{name}' is not",
                               "guard divisions, roots and logarithms")
        unknown = sorted(set(outputs) - set(module.outputs))
        if unknown:
            subject.broken("it sends what its ports declare", f"'{unknown[0]}' is no output port", "add the port, or leave "
                           "the output out")
        for name, value in module.carry.items():
            if len(value) != batch:
                subject.broken("its carry is batch-first", f"carry['{name}'] has the shape {tuple(value.shape)} for "
                               f"{batch} worlds", "put the worlds first, one row each")


def _check_messages_stay(subject: Subject, sequence: Sequence[Inputs]) -> None:
    module = subject.fresh(range(_batch(sequence)))
    sent: list[tuple[Outputs, Inputs]] = []
    outputs: Outputs = {}
    with torch.no_grad():
        for inputs in sequence:
            inputs = subject.fitting(inputs, outputs)
            before = copied(inputs)
            outputs = module.step(**inputs)
            sent.append((outputs, copied(outputs)))
            changed = difference(inputs, before)
            if changed:
                subject.broken("it leaves its inputs as they are", f"input {changed}", "no operation in place on an input")
    for outputs, then in sent:
        changed = difference(outputs, then)
        if changed:
            subject.broken("it never changes a message it has sent", f"output {changed} some ticks later",
                           "no operation in place on what was returned; copy it first")


def check_determinism(subject: Subject, sequence: Sequence[Inputs]) -> None:
    """Check that the same seed gives the same outputs, for any state of torch's global generator."""
    # without it, an environment breaks every later comparison of two records too
    with subject.keeps("the same seed gives the same outputs", vital=isinstance(subject.draft, World)):
        records = []
        for foreign in (1, 2):
            with torch.random.fork_rng(devices=[]):
                module = subject.fresh(range(_batch(sequence)))
                torch.manual_seed(foreign)
                records.append(subject.run(module, sequence))
        for tick, (one, other) in enumerate(zip(*records, strict=True)):
            changed = difference(one, other)
            if changed:
                subject.broken("the same seed gives the same outputs", f"{changed} at tick {tick}",
                               "draw random numbers only through self.random")


def check_row_alone(subject: Subject, sequence: Sequence[Inputs]) -> None:
    """Check that a row alone gives the same outputs as in a batch, within a tolerance."""
    with subject.keeps("a row alone gives what it gives in a batch"):
        batch = _batch(sequence)
        together = subject.run(subject.fresh(range(batch)), sequence)
        for row in range(batch):
            alone = subject.run(subject.fresh([row]), [rows(inputs, [row]) for inputs in sequence])
            for tick, (one, other) in enumerate(zip(together, alone, strict=True)):
                changed = difference(rows(one, [row]), other, exact=False)
                if changed:
                    subject.broken("a row alone gives what it gives in a batch", f"row {row}: {changed} at tick {tick}",
                                   "no statistics over the batch in step(); one random stream per row, self.random")


def _check_reset(subject: Subject, sequence: Sequence[Inputs]) -> None:
    batch, number = _batch(sequence), 100
    mask = torch.zeros(batch, dtype=torch.bool)
    mask[0] = True
    module = subject.fresh(range(batch))
    subject.run(module, sequence)
    subject.begin(module, mask, [number, *range(1, batch)])
    after = subject.run(module, sequence)
    unbroken = subject.run(subject.fresh(range(batch)), [*sequence, *sequence])[len(sequence):]
    new = subject.run(subject.fresh([number]), [rows(inputs, [0]) for inputs in sequence])
    others = list(range(1, batch))
    for tick in range(len(sequence)):
        changed = difference(rows(after[tick], [0]), new[tick], exact=False)
        if changed:
            subject.broken("a reset row keeps nothing of its old episode",
                           f"{changed} at tick {tick} after the reset",
                           "keep all state in self.carry")
        changed = difference(rows(after[tick], others), rows(unbroken[tick], others), exact=False)
        if changed:
            subject.broken("reset leaves the other rows alone", f"{changed} at tick {tick} after the reset of row 0",
                           "keep all state in self.carry")


def _check_snapshot(subject: Subject, sequence: Sequence[Inputs]) -> None:
    batch = _batch(sequence)
    module = subject.fresh(range(batch))
    subject.run(module, sequence)
    snapshot = module.snapshot()
    expected = subject.run(module, sequence)
    other = subject.fresh(range(50, 50 + batch))
    other.restore(snapshot)
    for tick, (one, two) in enumerate(zip(expected, subject.run(other, sequence), strict=True)):
        changed = difference(one, two)
        if changed:
            subject.broken("it continues identically from a snapshot", f"{changed} at tick {tick} after it",
                           "keep all state in self.carry")


def _check_weights(subject: Subject, sequence: Sequence[Inputs]) -> None:
    batch = _batch(sequence)
    module, other = subject.fresh(range(batch)), subject.fresh(range(batch), seed=1)
    other.load_state_dict({name: value.clone() for name, value in module.state_dict().items()})
    for tick, (one, two) in enumerate(zip(subject.run(module, sequence), subject.run(other, sequence), strict=True)):
        changed = difference(one, two)
        if changed:
            subject.broken("its saved weights give the same module", f"{changed} at tick {tick}",
                           "make every learnt or drawn tensor a parameter or a buffer, in build()")


def _check_ignored(subject: Subject, sequence: Sequence[Inputs], ignored: Collection[str]) -> None:
    batch = _batch(sequence)
    other = [{name: torch.zeros_like(value) if name in ignored and value is not None else value
              for name, value in inputs.items()} for inputs in sequence]
    for tick, (one, two) in enumerate(zip(subject.run(subject.fresh(range(batch)), sequence),
                                          subject.run(subject.fresh(range(batch)), other), strict=True)):
        changed = difference(one, two)
        if changed:
            subject.broken(IGNORES, f"{changed} at tick {tick} depends on {' or '.join(ignored)}",
                           "leave out of `ignores` what step() reads")


def _batch(sequence: Sequence[Inputs]) -> int:
    for value in sequence[0].values():
        if value is not None:
            return len(value)
    return 3  # no inputs
