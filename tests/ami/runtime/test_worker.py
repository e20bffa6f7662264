"""Worker: firing order, delays and rates, checks of messages, partial resets."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import ModuleError, PortError, SettingError
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.ports import Port
from ami.runtime.mailbox import Outputs
from ami.runtime.worker import Worker
from tests.ami.toys import Eye, Hand, Head, Wise, graph


class Notes:
    """A recorder that keeps the invocations in memory."""

    def __init__(self, *nodes: str) -> None:
        self.nodes, self.noted = nodes, {}
        self.rows: list[tuple[str, int, int]] = []
        self.closed = False

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor],
            ages: Sequence[int] = ()) -> None:
        assert start <= end and outputs
        self.rows.append((node, wave, tick))

    def notes(self, node: str) -> dict[str, Tensor] | None:
        return self.noted if node in self.nodes else None

    def publish(self, version: int) -> None:
        self.version = version

    def close(self) -> None:
        self.closed = True


class Listener(Eye):
    """An eye with a second action input, on another wire."""

    inputs = {**Eye.inputs, "echo": Port("action", ("A",))}

    def step(self, action: Tensor, echo: Tensor) -> dict[str, Tensor]:
        return {**super().step(action), "reward": echo.sum(-1)}


def begun(of: Graph, batch: int = 1, wave: int = 0, **settings: Any) -> Worker:
    worker = Worker(of, of.order, **{"seed": 0, **settings})
    begin(worker, [True] * batch, wave)
    return worker


def begin(worker: Worker, mask: list[bool], wave: int = 0) -> None:
    worker.begin(torch.tensor(mask), [Episode(number, seed=number) for number in range(len(mask))], wave)


def live(worker: Worker, ticks: range) -> list[dict[str, Outputs]]:
    return [worker.fire(worker.nodes, tick) for tick in ticks]


def seen(worker: Worker, ticks: int) -> list[float]:
    """Return the eye's state in the first row, tick by tick."""
    return [fired["eye"]["state"][0, 0].item() for fired in live(worker, range(ticks))]


# Order ----------------------------------------------------------------------------------------------------------------


def test_nodes_fire_in_graph_order_and_every_invocation_is_recorded() -> None:
    notes = Notes()
    worker = begun(graph(), wave=4, recorder=notes)
    live(worker, range(2))
    assert notes.rows == [(node, 4, tick) for tick in (0, 1) for node in ("book", "eye", "head", "hand")]
    worker.close()
    assert notes.closed


def test_a_module_receives_the_recorders_dict_for_notes() -> None:
    notes = Notes("eye")
    worker = begun(graph(), recorder=notes)
    assert worker.modules["eye"].notes is notes.noted
    assert [worker.modules[node].notes for node in ("book", "head", "hand")] == [None] * 3


def test_a_worker_fires_its_own_nodes_in_the_order_of_the_graph() -> None:
    assert Worker(graph(), ["hand", "head", "eye"], 0).nodes == ("eye", "head", "hand")


def test_fire_returns_the_outputs_of_every_node() -> None:
    fired = begun(graph(), batch=3).fire(("book", "eye"), 0)
    assert {node: {port: tuple(value.shape) for port, value in outputs.items()} for node, outputs in fired.items()} == {
        "book": {"score": (3,)}, "eye": {"state": (3, 3), "reward": (3,)}}


def test_modules_run_without_gradients_and_not_in_training() -> None:
    worker = begun(graph({"book": ModuleSpec(Wise)}))
    assert not any(module.training for module in worker.modules.values())
    assert not worker.fire(worker.nodes, 0)["head"]["plan"].requires_grad


# Delays ---------------------------------------------------------------------------------------------------------------
# The eye's state is the sum of the hand's two numbers plus 1; the hand's numbers are the eye's state: 0 → 1 → 3 → 7 → …


def test_a_delay_of_one_delivers_the_previous_ticks_message() -> None:
    assert seen(begun(graph()), 5) == [1, 3, 7, 15, 31]


def test_a_delay_of_two_delivers_the_message_of_two_ticks_ago() -> None:
    assert seen(begun(graph(eye={"action": "hand.action@-2"})), 6) == [1, 1, 3, 3, 7, 7]


@pytest.mark.parametrize(("delay", "expected"), [(1, [2, 5, 11, 23]), (2, [2, 2, 5, 5, 11]), (3, [2, 2, 2, 5, 5, 5, 11])])
def test_the_init_arrives_before_the_first_message(delay: int, expected: list[float]) -> None:
    wired = graph(eye={"action": {"from": "hand.action", "delay": delay, "init": 0.5}})
    assert seen(begun(wired), len(expected)) == expected


def test_wires_of_different_delays_from_one_output_are_independent() -> None:
    wired = graph({"eye": ModuleSpec(Listener)}, eye={"action": "hand.action@-1", "echo": "hand.action@-3"})
    fired = live(begun(wired), range(6))
    assert [tick["eye"]["state"][0, 0].item() for tick in fired] == [1, 3, 7, 15, 31, 63]
    assert [tick["eye"]["reward"][0].item() for tick in fired] == [0, 0, 0, 2, 6, 14]


@pytest.mark.parametrize("delay", [0, 1])
def test_a_cut_wire_delivers_its_init_at_every_tick(delay: int) -> None:
    wired = graph(eye={"action": {"from": "hand.action", "delay": delay, "cut": True, "init": 0.5}})
    worker = begun(wired)
    assert seen(worker, 4) == [2, 2, 2, 2]
    assert worker.modules["hand"].batch == 1, "the hand still runs, but is not read"


def test_an_optional_input_that_is_not_wired_is_none() -> None:
    got: list[object] = []

    class Curious(Head):
        def step(self, state: Tensor, hint: Tensor | None = None) -> dict[str, Tensor]:
            got.append(hint)
            return super().step(state)

    begun(graph({"head": ModuleSpec(Curious)})).fire(("eye", "head"), 0)
    assert got == [None]


def test_messages_that_no_wire_will_read_are_freed() -> None:
    worker = begun(graph(eye={"action": "hand.action@-2"}))
    messages = [weakref.ref(fired["hand"]["action"]) for fired in live(worker, range(6))]
    assert [message() is None for message in messages] == [True, True, True, False, False, False]


# Rates ----------------------------------------------------------------------------------------------------------------


def slow(every: int, modules: Mapping[str, ModuleSpec] | None = None, **changes: Any) -> Graph:
    return graph(modules or {}, head={"state": "eye.state", "calls": {"book": "book"}, "every": every}, **changes)


def test_a_slow_node_fires_every_n_ticks_and_holds_its_outputs() -> None:
    notes = Notes()
    worker = begun(slow(3), recorder=notes)
    fired = live(worker, range(7))
    assert [tick for node, _, tick in notes.rows if node == "head"] == [0, 3, 6]
    assert [tick for node, _, tick in notes.rows if node == "eye"] == list(range(7))
    assert [tick["head"]["plan"][0, 0, 0].item() for tick in fired] == [1, 1, 1, 3, 3, 3, 7]
    assert fired[1]["head"] is fired[0]["head"]


def test_held_outputs_are_delayed_like_others() -> None:
    assert seen(begun(slow(3)), 8) == [1, 3, 3, 3, 7, 7, 7, 15]
    fired = live(begun(slow(3, hand={"plan": "head.plan@-2"})), range(6))
    assert [tick["head"]["plan"][0, 0, 0].item() for tick in fired] == [1, 1, 1, 3, 3, 3]
    assert [tick["hand"]["action"][0, 0].item() for tick in fired] == [0, 0, 1, 1, 1, 3]


def test_a_new_episode_does_not_start_with_held_outputs() -> None:
    worker = begun(slow(3))
    first = live(worker, range(5))
    begin(worker, [True])
    second = live(worker, range(5))
    assert [tick["head"]["energy"].item() for tick in second] == [tick["head"]["energy"].item() for tick in first]


class Counter(Head):
    """A head whose plan counts its firings and adds a random number."""

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"count": torch.zeros(batch)}

    def step(self, state: Tensor, hint: Tensor | None = None) -> dict[str, Tensor]:
        self.carry = {"count": self.carry["count"] + 1}
        drawn = self.random.normal(2, 2)
        return {"plan": self.carry["count"][:, None, None] + drawn, "energy": state.sum(-1),
                "count": self.carry["count"].long()}


@settings(max_examples=25, deadline=None)
@given(every=st.integers(1, 4), resets=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2)), max_size=4, unique=True),
       delay=st.integers(1, 3))
def test_every_row_of_a_slow_node_is_that_of_its_episode_alone(every: int, resets: list[tuple[int, int]],
                                                               delay: int) -> None:
    of = slow(every, {"head": ModuleSpec(Counter)}, eye={"action": f"hand.action@-{delay}"})
    worker = begun(of, batch=3)
    found: dict[int, list[float]] = {number: [] for number in range(3)}  # by episode
    running, latest = [0, 1, 2], 3
    for tick in range(12):
        rows = [row for at, row in sorted(resets) if at == tick][:2]  # all rows at once begin again at tick 0
        if rows:
            for row in rows:
                running[row], latest = latest, latest + 1
                found[running[row]] = []
            worker.begin(torch.tensor([row in rows for row in range(3)]),
                         [Episode(number, seed=number) for number in running], 0)
        fired = worker.fire(worker.nodes, tick)
        for row, number in enumerate(running):
            found[number].append(fired["hand"]["action"][row, 0].item())
    for number, actions in found.items():
        alone = Worker(of, of.order, 0)
        alone.begin(torch.ones(1, dtype=torch.bool), [Episode(number, seed=number)], 0)
        assert actions == [alone.fire(alone.nodes, tick)["hand"]["action"][0, 0].item() for tick in range(len(actions))]


def test_a_partial_reset_is_refused_if_a_world_is_slow() -> None:
    class Slow(World):
        inputs = {**Eye.inputs}
        outputs = {**Eye.outputs}

        def infer_dims(self, known: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"S": (3,)}

        def step(self, action: Tensor) -> dict[str, Tensor]:
            return {"state": action.sum(-1, keepdim=True).expand(-1, 3) + 1, "reward": action[:, 0]}

    worker = begun(graph({"eye": ModuleSpec(Slow)}, eye={"action": "hand.action@-1", "every": 2}), batch=3)
    live(worker, range(2))
    with pytest.raises(SettingError) as refused:
        begin(worker, [True, False, False])
    assert str(refused.value) == ("1 of 3 worlds start new episodes, but eye fires only every few ticks, for all rows "
                                  "at once. Fix: begin all episodes together")


# Again ----------------------------------------------------------------------------------------------------------------


def test_a_tick_that_is_fired_twice_steps_nothing_and_gives_the_same_outputs() -> None:
    notes = Notes()
    worker = begun(graph({"head": ModuleSpec(Counter)}), recorder=notes)
    live(worker, range(3))
    once = worker.fire(worker.nodes, 3)
    recorded = len(notes.rows)
    again = worker.fire(worker.nodes, 3)
    assert all(again[node] is once[node] for node in once) and len(notes.rows) == recorded


def test_a_tick_that_failed_is_completed_by_the_next_call() -> None:
    worker = begun(graph({"hand": ModuleSpec(Fickle, {"what": "nan", "at": 1})}), batch=2)
    worker.fire(worker.nodes, 0)
    with pytest.raises(PortError):
        worker.fire(worker.nodes, 1)
    head = worker.mail.sent("head").get(1)
    worker.modules["hand"].at = 99  # type: ignore[assignment]
    assert worker.fire(worker.nodes, 1)["head"] is head and head is not None


@settings(max_examples=15, deadline=None)
@given(every=st.integers(1, 3), reset=st.integers(1, 5), at=st.integers(6, 9), delay=st.integers(1, 3))
def test_a_restored_worker_goes_on_like_the_one_it_was_taken_from(every: int, reset: int, at: int, delay: int) -> None:
    of = slow(every, {"head": ModuleSpec(Counter)}, eye={"action": f"hand.action@-{delay}"})
    worker = begun(of, batch=2)
    for tick in range(at):
        if tick == reset:
            begin(worker, [False, True])
        worker.fire(worker.nodes, tick)
    other = Worker(of, of.order, 0)
    other.restore(worker.snapshot())
    for tick in range(at, at + 6):
        ours, theirs = worker.fire(worker.nodes, tick), other.fire(other.nodes, tick)
        for node, outputs in ours.items():
            for port, value in outputs.items():
                assert torch.equal(value, theirs[node][port]), f"{node}.{port} at tick {tick}"


def test_a_snapshot_does_not_change_when_the_worker_goes_on() -> None:
    worker = begun(graph({"head": ModuleSpec(Counter)}), batch=2)
    live(worker, range(2))
    taken = worker.snapshot()
    goes_on = live(worker, range(2, 5))
    other = Worker(worker.graph, worker.nodes, 0)
    other.restore(taken)
    assert torch.equal(live(other, range(2, 5))[-1]["hand"]["action"], goes_on[-1]["hand"]["action"])


# Messages -------------------------------------------------------------------------------------------------------------


class Fickle(Hand):
    """Sends a message that does not fit its port from tick `at` on."""

    def __init__(self, what: str = "shape", at: int = 0) -> None:
        super().__init__()
        self.what, self.at, self.tick = what, at, -1

    def step(self, plan: Tensor) -> Any:
        self.tick += 1
        if self.tick < self.at:
            return super().step(plan)
        action = plan[:, 0].clone()
        if self.what in ("nan", "inf"):
            action[1, 1] = -float(self.what)
        if self.what == "writes":
            plan.zero_()
        return {"nan": {"action": action}, "inf": {"action": action}, "writes": {"action": action},
                "more": {"action": action, "more": action}, "shape": {"action": plan},
                "dtype": {"action": plan[:, 0].double()}, "missing": {"act": plan[:, 0]},
                "kind": {"action": 0.5}, "nothing": None}[self.what]


@pytest.mark.parametrize(("what", "words"), [
    ("shape", "at wave 0, tick {} hand.action gave the shape (2, 2, 2): expected (2, 2), action float32 (B, A)"),
    ("dtype", "at wave 0, tick {} hand.action gave the dtype torch.float64: expected torch.float32. Fix: cast it in step()"),
    ("missing", "at wave 0, tick {} hand.action gave a NoneType: expected a tensor, action float32 (B, A)"),
    ("kind", "at wave 0, tick {} hand.action gave a float: expected a tensor, action float32 (B, A)"),
    ("nothing", "at wave 0, tick {} hand.step() gave a NoneType: expected a dict of its outputs, {{action}}. "
                "Fix: return one in Fickle.step()"),
    ("more", "at wave 0, tick {} hand.step() gave 'more', which is no output port: expected action. "
             "Fix: declare the port in Fickle.outputs, or leave it out"),
    ("nan", "at wave 0, tick {} hand.action is nan in row 1 (episode 1): expected finite numbers. "
            "It received plan float32 (2, 2, 2), all of them finite. "
            "Fix: guard divisions, roots and logarithms in tests.ami.runtime.test_worker.Fickle"),
    ("inf", "at wave 0, tick {} hand.action is -inf in row 1 (episode 1): expected finite numbers. "
            "It received plan float32 (2, 2, 2), all of them finite. "
            "Fix: guard divisions, roots and logarithms in tests.ami.runtime.test_worker.Fickle"),
    ("writes", "at wave 0, tick {} hand.step() changed its input 'plan' in place, but other nodes read it. "
               "Fix: clone() the message before an operation in place"),
])
@pytest.mark.parametrize("tick", [0, 3])
def test_refuses_a_message_that_does_not_fit_its_port(what: str, words: str, tick: int) -> None:
    worker = begun(graph({"hand": ModuleSpec(Fickle, {"what": what, "at": tick})}), batch=2)
    live(worker, range(tick))
    with pytest.raises(PortError) as refused:
        worker.fire(worker.nodes, tick)
    assert str(refused.value) == words.format(tick)


class Shower(Eye):
    """Sends `what` from a port of any dtype."""

    outputs = {**Eye.outputs, "picture": Port("observation", ("*S",), None)}
    what: Any = torch.zeros(1, 3)

    def step(self, action: Tensor) -> Any:
        return {**super().step(action), "picture": self.what}


def test_a_port_of_any_dtype_keeps_its_dtype_in_the_next_episodes() -> None:
    worker = begun(graph({"eye": ModuleSpec(Shower)}))
    eye: Any = worker.modules["eye"]
    live(worker, range(2))
    begin(worker, [True], wave=1)
    eye.what = torch.zeros(1, 3).double()
    with pytest.raises(PortError, match=r"^at wave 1, tick 0 eye\.picture gave the dtype torch\.float64: expected "
                                        r"torch\.float32, as before\. Fix: cast it in Shower\.step\(\)$"):
        worker.fire(worker.nodes, 0)


def test_a_port_of_any_dtype_refuses_a_numpy_array() -> None:
    worker = begun(graph({"eye": ModuleSpec(Shower)}))
    worker.modules["eye"].what = torch.zeros(1, 3).numpy()  # type: ignore[assignment]
    with pytest.raises(PortError, match=r"^at wave 0, tick 0 eye\.picture gave a ndarray: expected a tensor"):
        worker.fire(worker.nodes, 0)


class Inferring(Hand):
    """Acts in torch's inference mode, whose tensors have no version counter."""

    @torch.inference_mode()
    def step(self, plan: Tensor) -> Mapping[str, Tensor]:
        return {"action": plan[:, 0] + 1}


def test_messages_of_torchs_inference_mode_are_sent_like_others() -> None:
    worker = begun(graph({"hand": ModuleSpec(Inferring)}))
    assert len(live(worker, range(10))) == 10


def test_messages_are_checked_when_episodes_begin() -> None:
    worker = begun(graph({"hand": ModuleSpec(Fickle, {"at": 2, "what": "dtype"})}), batch=2)
    live(worker, range(2))
    begin(worker, [True, False])
    with pytest.raises(PortError, match=r"^at wave 0, tick 2 hand\.action gave the dtype torch\.float64"):
        worker.fire(worker.nodes, 2)


# Partial resets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["hand.action@-1", "hand.action@-2", {"from": "hand.action", "delay": 3, "init": 0.5}])
@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_a_restarted_row_receives_no_earlier_message(source: Any, when: int) -> None:
    wired = graph(eye={"action": source})
    undisturbed = [tick["eye"]["state"] for tick in live(begun(wired, batch=2), range(9))]
    worker = begun(wired, batch=2)
    live(worker, range(when))
    begin(worker, [False, True])
    for tick, fired in enumerate(live(worker, range(when, 9))):
        assert torch.equal(fired["eye"]["state"][0], undisturbed[when + tick][0])
        assert torch.equal(fired["eye"]["state"][1], undisturbed[tick][1])


def test_a_restarted_row_receives_each_wires_init() -> None:
    wired = graph({"eye": ModuleSpec(Listener)}, eye={"action": {"from": "hand.action", "delay": 1, "init": 0.5},
                                                "echo": {"from": "hand.action", "delay": 1, "init": -3}})
    fresh = live(begun(wired, batch=2), range(3))
    worker = begun(wired, batch=2)
    live(worker, range(2))
    begin(worker, [False, True])
    for one, other in zip(live(worker, range(2, 5)), fresh, strict=True):
        assert torch.equal(one["eye"]["state"][1], other["eye"]["state"][1])
        assert torch.equal(one["eye"]["reward"][1], other["eye"]["reward"][1])


def test_rows_may_restart_at_different_ticks() -> None:
    wired = graph(eye={"action": "hand.action@-2"})
    alone = [tick["eye"]["state"][0] for tick in live(begun(wired), range(9))]
    worker = begun(wired, batch=3)
    live(worker, range(3))
    begin(worker, [False, True, False])
    worker.fire(worker.nodes, 3)
    begin(worker, [False, False, True])
    for tick, fired in enumerate(live(worker, range(4, 9))):
        for row, began in enumerate((0, 3, 4)):
            assert torch.equal(fired["eye"]["state"][row], alone[4 + tick - began])


def test_rows_may_be_reset_one_by_one_within_a_tick() -> None:
    worker = begun(graph(), batch=3)
    live(worker, range(3))
    begin(worker, [True, False, False])
    begin(worker, [False, True, False])
    assert worker.fire(worker.nodes, 3)["eye"]["state"][:, 0].tolist() == [1, 1, 15]


def test_a_reset_does_not_change_sent_messages() -> None:
    worker = begun(graph(), batch=2)
    sent = worker.fire(worker.nodes, 0)["hand"]["action"]
    before = sent.clone()
    begin(worker, [True, False])
    worker.fire(worker.nodes, 1)
    assert torch.equal(sent, before)


def test_a_full_reset_may_change_the_number_of_worlds() -> None:
    worker = begun(graph(), batch=2)
    live(worker, range(3))
    begin(worker, [True] * 5)
    assert worker.fire(worker.nodes, 0)["eye"]["state"].tolist() == [[1, 1, 1]] * 5


# Failures ------------------------------------------------------------------------------------------------------------


def test_messages_before_a_failure_are_kept_at_once() -> None:
    """An agent that continues after an error may change its sent messages."""
    class Failing(Head):
        def step(self, state: Tensor, hint: Tensor | None = None) -> dict[str, Tensor]:
            raise ZeroDivisionError

    notes = Notes()
    worker = begun(graph({"head": ModuleSpec(Failing)}), recorder=notes)
    with pytest.raises(ModuleError):
        worker.fire(worker.nodes, 0)
    assert [node for node, *_ in notes.rows] == ["book", "eye"]


def test_a_misfit_is_refused_even_if_a_later_module_fails_because_of_it() -> None:
    class Flat(Eye):
        def step(self, action: Tensor) -> dict[str, Tensor]:
            return {**super().step(action), "state": torch.zeros(4)}

    notes = Notes()
    worker = begun(graph({"eye": ModuleSpec(Flat)}), recorder=notes)
    for _ in range(2):  # the refused tick does not count as fired
        with pytest.raises(PortError, match=r"^at wave 0, tick 0 eye\.state gave the shape \(4,\)"):
            worker.fire(worker.nodes, 0)
    assert {node for node, *_ in notes.rows} == {"book"}
    assert worker.mail.sent("eye") == worker.mail.sent("head") == {}


def test_a_number_that_is_not_finite_is_not_traced_to_later_messages() -> None:
    class Dividing(Head):
        def step(self, state: Tensor, hint: Tensor | None = None) -> dict[str, Tensor]:
            sent = super().step(state)
            return {**sent, "plan": sent["plan"] / 0 * 0, "energy": sent["energy"] / 0}

    worker = begun(graph({"head": ModuleSpec(Dividing)}))
    with pytest.raises(PortError, match=r"head\.energy is inf in row 0 \(episode 0\): expected finite numbers"):
        worker.fire(worker.nodes, 0)
