"""Spaces: every key of a Dict is a port, pictures have their channels last, actions of every kind are decoded, and no
masked action is ever chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Space, Text, Tuple
from gymnasium.spaces.utils import flatten
from torch import Tensor

from ami.actions import ActionSpace
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, to_graph
from ami.envs.actions import ActionCodec
from ami.envs.spaces import Reading, picture, reading_of
from ami.envs.world import GymWorld
from ami.errors import AmiError, GraphError, SettingError
from ami.runtime.local import LocalRuntime
from ami.testing import check_world

HOSTILE = "tests.support.hostile_envs:hostile"
EYE, HAND, WORDS = Box(0, 255, (20, 16, 3), np.uint8), Box(-1, 1, (2,)), Text(5)


def read(space: Space, chosen: str | None = None, actions: Space | None = None) -> Reading:
    return reading_of(space, "Env-v0", ActionCodec(actions or HAND, "Env-v0"), chosen)


def sizes(reading: Reading) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (port.space.shape or (), port.dtype) for name, port in reading.ports.items()}


# Observations ---------------------------------------------------------------------------------------------------------


def test_every_key_is_a_port_and_the_picture_is_the_observation() -> None:
    space = Dict(image=EYE, body=HAND, way=Discrete(4), words=WORDS)
    reading = read(space)
    assert sizes(reading) == {"observation": ((20, 16, 3), "uint8"), "image": ((20, 16, 3), "uint8"),
                              "body": ((2,), "float32"), "way": ((4,), "float32"), "words": ((5,), "uint8")}
    assert reading.remarks == ["observation is the key 'image'",
                               "the key 'words' is the port words, a text, 5 bytes of UTF-8, padded with 0"]
    seen = space.sample() | {"words": "ab"}
    ports = reading(seen)
    assert np.array_equal(ports["observation"], seen["image"]) and np.array_equal(ports["body"], seen["body"])
    assert ports["words"].tolist() == [97, 98, 0, 0, 0] and ports["way"].tolist() == np.eye(4)[seen["way"]].tolist()


@pytest.mark.parametrize(("space", "chosen", "shape", "remark"), [
    (Dict(observation=HAND, other=EYE), None, (2,), None),
    (Dict(observation=HAND, other=EYE), "other", (20, 16, 3), "observation is the key 'other'"),
    (Dict(only=HAND, words=WORDS), None, (2,), "observation is the key 'only'"),
    (Dict(a=HAND, b=Discrete(3)), None, (5,), "observation is a, b, flattened to one vector; world.observation=KEY "
                                              "chooses one of them"),
    (Dict(a=HAND, b=Discrete(3)), "b", (3,), "observation is the key 'b'")])
def test_rule_for_the_observation_key(space: Dict, chosen: str | None, shape: tuple[int, ...],
                                      remark: str | None) -> None:
    reading = read(space, chosen)
    assert reading.ports["observation"].space.shape == shape
    assert remark is None or remark in reading.remarks
    names = {"observation": "observed_observation"} if chosen and "observation" in space.spaces else {}
    assert {names.get(key, key) for key in space.spaces} <= set(reading.ports)


def test_a_goal_is_the_port_goal() -> None:
    reading = read(Dict(observation=HAND, desired_goal=Box(0, 1, (3,)), achieved_goal=Box(0, 1, (3,))))
    assert list(reading.ports)[:2] == ["observation", "goal"]
    assert set(reading.ports) == {"observation", "goal", "achieved_goal", "desired_goal"}
    assert reading.ports["goal"].space.shape == (3,) and reading.remarks == []
    assert reading.same == {"desired_goal": "goal"}
    assert list(read(Dict(image=EYE, goal=EYE), "image").ports) == ["observation", "goal", "image"]


def test_a_key_of_two_ports_is_read_once() -> None:
    reading = read(Dict(image=EYE, way=Discrete(4)))
    assert list(reading.spaces) == ["observation", "way"] and reading.same == {"image": "observation"}
    assert list(reading({"image": np.zeros(EYE.shape, np.uint8), "way": 1})) == ["observation", "way"]
    flattened = read(Dict(a=HAND, b=Discrete(3)))
    assert flattened.same == {} and flattened.duplicated_by == {"a": "observation", "b": "observation"}


@pytest.mark.parametrize(("space", "text", "sent"), [
    (Text(3), "ab", [97, 98, 0]), (Text(2, charset="aé"), "éa", [195, 169, 97, 0]), (Text(2), "", [0, 0])])
def test_a_text_is_its_utf8_bytes_padded_with_0(space: Text, text: str, sent: list[int]) -> None:
    found = read(Dict(observation=HAND, words=space))({"observation": HAND.sample(), "words": text})["words"]
    assert found.dtype == np.uint8 and found.tolist() == sent
    assert found.tobytes().rstrip(bytes(1)).decode() == text


def test_keys_with_reserved_or_invalid_names_are_renamed() -> None:
    reading = read(Dict({"observation": HAND, "reward": HAND, "front camera": EYE, "2d": HAND}))
    assert list(reading.ports) == ["observation", "_2d", "front_camera", "observed_reward"]
    assert "the key 'front camera' is the port front_camera" in reading.remarks
    with pytest.raises(SettingError, match="two keys of Env-v0 make the port 'observed_a_b', one of them 'a"):
        read(Dict({"observation": HAND, "a b": HAND, "a.b": HAND, "a-b": HAND}))


def test_unsupported_keys_are_left_out_with_a_remark() -> None:
    reading = read(Dict(observation=HAND, net=Graph(HAND, None)))
    assert list(reading.ports) == ["observation"]
    assert reading.remarks == [f"the key 'net', {Graph(HAND, None)}, is left out: it is neither numeric nor text"]


@pytest.mark.parametrize(("space", "chosen", "words"), [
    (Dict(left=EYE, right=EYE), None, "Env-v0 shows several pictures, left, right. Fix: world.observation=left, or another "
                                      "key: it becomes the port observation"),
    (Dict(left=EYE, right=HAND), "rigth", "world.observation is 'rigth', which is not a key of Env-v0 that can be sent: did "
                                          "you mean 'right'?"),
    (HAND, "left", f"world.observation is 'left', but Env-v0 has the observation space {HAND}, which has no keys. Fix: "
                   "leave it out")])
def test_ambiguous_or_unknown_keys_are_refused(space: Space, chosen: str | None, words: str) -> None:
    with pytest.raises(SettingError) as refused:
        read(space, chosen)
    assert str(refused.value) == words


@pytest.mark.parametrize(("shape", "sent"), [
    ((20, 24, 3), (20, 24, 3)), ((3, 20, 24), (20, 24, 3)), ((1, 16, 16), (16, 16, 1)), ((20, 24), (20, 24)),
    ((4, 20, 24), (20, 24, 4)), ((4, 20, 24, 3), (20, 24, 12)), ((4, 3, 20, 24), (20, 24, 12)),
    ((7, 7, 3), (7, 7, 3)), ((3, 40, 3), (3, 40, 3)), ((17, 19, 19), (17, 19, 19))])
def test_pictures_have_their_channels_last(shape: tuple[int, ...], sent: tuple[int, ...]) -> None:
    for space in (Box(0, 255, shape, np.uint8), Box(0, 1, shape)):
        reading, seen = read(space), space.sample()
        shown = reading(seen)["observation"]
        assert reading.ports["observation"].space.shape == shown.shape == sent
        assert sorted(shown.ravel().tolist()) == sorted(seen.ravel().tolist())
        assert bool(reading.remarks) is (shape != sent)
    if len(shape) == 3 and shape != sent:
        assert np.array_equal(shown[3, 5], seen[:, 3, 5])
    assert picture(Box(-1, 1, shape)) is None


def test_conversion_of_a_picture_gives_a_remark() -> None:
    assert read(Box(0, 255, (3, 20, 24), np.uint8)).remarks == [
        "observation is Box(0, 255, (3, 20, 24), uint8), a picture with its channels first, sent as (20, 24, 3)"]


def test_a_stack_of_pictures_keeps_the_colours_of_each_adjacent() -> None:
    space = Box(0, 255, (4, 20, 24, 3), np.uint8)
    seen = space.sample()
    assert np.array_equal(read(space)(seen)["observation"][2, 7], seen[:, 2, 7].reshape(-1))


# Actions --------------------------------------------------------------------------------------------------------------

THREE, UP = Discrete(3), Box(-2, 4, (1,))
CODECS: list[tuple[Space, ActionSpace]] = [
    (Box(-1, 1, (2, 2)), ActionSpace(4)),
    (Discrete(3, start=5), ActionSpace(choices=(3,))),
    (MultiDiscrete([3, 2]), ActionSpace(choices=(3, 2))),
    (MultiDiscrete(np.array([[3, 2], [4, 2]])), ActionSpace(choices=(3, 2, 4, 2))),
    (MultiDiscrete([3, 2], start=[1, 5]), ActionSpace(choices=(3, 2))),
    (MultiBinary((2, 2)), ActionSpace(choices=(2, 2, 2, 2))),
    (Box(-1, 2, (2,), np.int64), ActionSpace(choices=(4, 4))),
    (Box(0, 255, (2,), np.uint8), ActionSpace(2)),
    (Tuple((THREE, UP)), ActionSpace(1, (3,))),
    (Dict(a=UP, b=Tuple((THREE, MultiBinary(1))), c=Box(0, 1, (2,), np.float64)), ActionSpace(3, (3, 2))),
]


@pytest.mark.parametrize(("space", "actions"), CODECS, ids=[str(space)[:30] for space, _ in CODECS])
def test_decoded_actions_are_valid_and_cover_the_space(space: Space, actions: ActionSpace) -> None:
    codec = ActionCodec(space, "Env-v0")
    assert codec.actions == actions
    drawn = actions.draw(torch.rand(300, actions.num_draws, generator=torch.Generator().manual_seed(0))).numpy()
    taken = codec.decode(drawn)
    assert all(space.contains(one if not isinstance(space, Discrete) else int(one)) for one in taken)
    flat = np.stack([flatten(space, one) for one in taken]).astype(float)
    low, high = (flatten(space, one) for one in (taken[0], taken[0]))
    assert (flat.max(0) > flat.min(0)).all() and len(low) == len(high)


def test_bounds_are_reached_and_numbers_beyond_are_clipped() -> None:
    codec = ActionCodec(Tuple((THREE, UP)), "Env-v0")
    taken = codec.decode(np.array([[-1, 0, 1, 0], [1, 0, 0, 1], [5, 1, 0, 0], [0, 0, 0, 0]], np.float32))
    assert [(int(one), part.tolist()) for one, part in taken] == [(1, [-2]), (2, [4]), (0, [4]), (0, [1])]
    whole = ActionCodec(Box(0, 255, (1,), np.uint8), "Env-v0").decode(np.array([[-1], [1], [0.001]], np.float32))
    assert [one.tolist() for one in whole] == [[0], [255], [128]]


@pytest.mark.parametrize("space", [Text(3), Tuple((THREE, Text(3)))])
def test_action_spaces_without_a_vector_form_are_refused(space: Space) -> None:
    with pytest.raises(SettingError, match=r"Env-v0 has the action space .* expected a Box, Discrete, MultiDiscrete"):
        ActionCodec(space, "Env-v0")
    with pytest.raises(SettingError, match="which is unbounded: expected finite bounds"):
        ActionCodec(Tuple((THREE, Box(-np.inf, 1, (1,)))), "Env-v0")


@pytest.mark.parametrize("given", [np.array([1, 0, 1, 0, 1]), (np.array([1, 0, 1]), np.array([0, 1])), [1, 0, 1, 0, 1],
                                   {"a": np.array([1, 0, 1]), "b": np.array([0, 1])}])
def test_masks_of_every_form_are_flags_of_the_vector(given: Any) -> None:
    codec = ActionCodec(Tuple((UP, THREE, Discrete(2))), "Env-v0")
    flags = codec.flags(given)
    assert flags.tolist() == [True, True, False, True, False, True] and codec.allows(flags)
    assert not codec.allows(np.array([True, True, True, True, False, False]))


# Worlds, with planners and actors -------------------------------------------------------------------------------------


def world(name: str, **settings: Any) -> GymWorld:
    made = GymWorld(f"{HOSTILE}/{name}-v0", **settings)
    made.set_up(dict(made.infer_dims({})), made.inputs["action"].space)
    return made


@pytest.mark.parametrize("name", ["Masked", "MaskInInfo", "MaskedMulti", "TupleAction", "DictAction", "PictureAndBody",
                                  "Mission"])
def test_worlds_pass_the_contract_check(name: str) -> None:
    check_world(lambda: GymWorld(f"{HOSTILE}/{name}-v0"), ticks=15)


def test_an_action_of_several_parts_reaches_the_environment() -> None:
    made = world("TupleAction")
    made.begin(torch.ones(2, dtype=torch.bool), [Episode(0, 0), Episode(1, 1)])
    for _ in range(2):
        made.step(action=torch.tensor([[1.0, 0, 0, 1], [-1.0, 1, 0, 0]]))
    taken = [env.unwrapped.taken for env in made.rows.envs]
    assert [(int(one), part.tolist()) for one, part in taken] == [(2, [4]), (0, [-2])]
    assert made.remarks == ["an action, Tuple(Discrete(3), Box(-2.0, 4.0, (1,), float32)), is 1 number in [-1, 1] and one "
                            "of 3"]


def test_the_mode_of_an_action_is_received_not_chosen() -> None:
    space = Dict(move=Box(-1, 1, (2,)), mode=Discrete(2, start=1))
    codec = ActionCodec(space, "Dear-v0")
    assert codec.receives_mode and codec.actions == ActionSpace(2)
    one, other = codec.decode(np.zeros((2, 2), np.float32), np.array([0, 2]))
    assert one in space and one["mode"] == 1 and other["mode"] == 2
    assert codec.decode(np.zeros((1, 2), np.float32))[0]["mode"] == 1
    with pytest.raises(SettingError, match="Dear-v0 has actions with the key 'mode', Discrete\\(3\\): expected"):
        ActionCodec(Dict(move=HAND, mode=Discrete(3)), "Dear-v0")


def test_a_repeated_action_and_a_mask_are_refused() -> None:
    with pytest.raises(SettingError, match=r"world.repeat is 2, but .*Masked-v0 sends action masks, and a mask holds"):
        world("Masked", repeat=2)


BARE = ["world=gym", "perception=vector", "goal=none", "memory=none"]


def cycled(name: str, overrides: Sequence[str], ticks: int = 8, rows: int = 3) -> list[Mapping[str, Tensor]]:
    """Run an agent with initial weights in an environment that raises on a masked action."""
    graph = to_graph(compose([*BARE, f"world.id={HOSTILE}/{name}-v0", *overrides], allow=["tests."]))
    assert graph.warnings == []
    watch = ("actor.action", *(["world.action_mask"] if "action_mask" in graph.outputs["world"] else []))
    with Agent(LocalRuntime(graph, watch=watch)) as agent:
        agent.reset(torch.ones(rows, dtype=torch.bool), [Episode(row, row) for row in range(rows)])
        return [dict(agent.cycle()) for _ in range(ticks)]


POLICY = ["actor=policy", "configurator.mode=1"]
DISCRETE = {"tree": ["planner=tree"], "shooting": ["planner=random_shooting"],
            "held": ["planner=categorical", "actor.num_steps=3"], "slow": ["planner=tree", "graph.planner.every=3"],
            "slow policy": ["planner=tree", "graph.planner.every=3", "actor=policy"],
            "exploring": ["planner=categorical", "actor=epsilon_greedy", "actor.epsilon=0.8"], "random": ["agent=random"],
            "decoding": ["planner=categorical", "actor=plan_decoder", "graph.actor.calls.world_model=world_model"],
            "sticky": ["agent=explorer"], "policy": ["planner=categorical", *POLICY],
            "proposals": ["planner=categorical", "actor=policy", "graph.planner.calls.policy=actor"],
            "shot proposals": ["planner=random_shooting", "actor=policy", "graph.planner.calls.policy=actor"],
            "warm_start_prob": ["planner=categorical", "planner.warm_start_prob=1"]}


@pytest.mark.parametrize(("overrides", "name"), [
    (overrides, ("MaskedFirst", "MaskInInfo", "MaskedMulti")[i % 3]) for i, overrides in enumerate(DISCRETE.values())],
    ids=DISCRETE)
def test_masked_actions_are_never_chosen(name: str, overrides: Sequence[str]) -> None:
    for tick in cycled(name, overrides):
        action, allowed = tick["actor.action"], tick["world.action_mask"]
        assert not action[~allowed].any()
        assert bool((action.sum(-1) == (2 if name == "MaskedMulti" else 1)).all())


@pytest.mark.parametrize("planner", ["cem", "icem", "mppi", "gradient", "random_shooting"])
def test_continuous_planners_drive_numbers_and_choices(planner: str) -> None:
    space = ActionSpace(1, (3,))
    for tick in cycled("TupleAction", [f"planner={planner}"]):
        assert space.fits(tick["actor.action"]).all()


@pytest.mark.parametrize(("name", "planner", "words"), [
    ("TupleAction", "categorical", r"Categorical plans choices, but here an action is 1 number in \[-1, 1\] and one of 3"),
    ("MultiDiscrete", "cem", "CEM plans continuous actions, but here an action is one of 3 and one of 2. Fix: planner=cat")])
def test_planners_of_other_actions_are_refused(name: str, planner: str, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        cycled(name, [f"planner={planner}"])


def test_a_key_of_a_dict_can_be_wired_by_its_name() -> None:
    overrides = [*BARE, f"world.id={HOSTILE}/PictureAndBody-v0", "planner=categorical"]
    graph = to_graph(compose([*overrides, "graph.perception.observation=world.body"], allow=["tests."]))
    assert graph.dims["perception"]["O"] == (4,) and graph.dims["world"]["O"] == (16, 16, 3)
    chosen = to_graph(compose([*overrides, "world.observation=body"], allow=["tests."]))
    assert chosen.dims["world"]["O"] == (4,)


def test_a_port_that_repeats_another_is_sent_only_if_it_is_read() -> None:
    overrides = [*BARE, f"world.id={HOSTILE}/PictureAndBody-v0", "planner=categorical"]
    for wiring, sent in ([], {"observation", "body"}), (["graph.perception.observation=world.image"],
                                                         {"observation", "body", "image"}):
        graph = to_graph(compose([*overrides, *wiring], allow=["tests."]))
        assert set(graph.outputs["world"]) & {"observation", "body", "image"} == sent
        with Agent(LocalRuntime(graph, watch=[f"world.{name}" for name in graph.outputs["world"]])) as agent:
            agent.reset(torch.ones(2, dtype=torch.bool), [Episode(0, 0), Episode(1, 1)])
            outputs = dict(agent.cycle())
        assert outputs["world.body"].shape == (2, 4)
        if wiring:
            assert outputs["world.image"] is outputs["world.observation"]


@pytest.mark.parametrize(("wiring", "sent"), [([], set()), (["graph.perception.observation=world.right"], {"right"})])
def test_a_port_that_is_part_of_another_is_sent_only_if_it_is_read(wiring: Sequence[str], sent: set[str]) -> None:
    overrides = [*BARE, f"world.id={HOSTILE}/TwoVectors-v0", "planner=categorical", *wiring]
    graph = to_graph(compose(overrides, allow=["tests."]))
    assert set(graph.outputs["world"]) & {"left", "right"} == sent
    with Agent(LocalRuntime(graph, watch=[f"world.{name}" for name in graph.outputs["world"]])) as agent:
        agent.reset(torch.ones(2, dtype=torch.bool), [Episode(0, 0), Episode(1, 1)])
        outputs = dict(agent.cycle())
    assert outputs["world.observation"].tolist() == [[0, 0, 1, 1, 1]] * 2
    assert all(outputs[f"world.{name}"].tolist() == [[1, 1, 1]] * 2 for name in sent)


def test_the_port_of_a_goal_key_has_the_kind_of_a_goal() -> None:
    made = world("GoalInAKey")
    assert {name: port.kind for name, port in made.outputs.items() if "goal" in name} == {
        "goal": "goal_observation", "desired_goal": "goal_observation", "achieved_goal": "observation"}
    assert check_world(lambda: GymWorld(f"{HOSTILE}/GoalInAKey-v0"), ticks=15) is None


def test_an_actor_that_receives_no_mask_is_named() -> None:
    overrides = [*BARE, f"world.id={HOSTILE}/Masked-v0", "planner=categorical"]
    graph = to_graph(compose([*overrides, "actor._target_=tests.support.maskless.Maskless"], allow=["tests."]))
    assert graph.warnings == [
        "actor does not receive world.action_mask: tests.support.maskless.Maskless has no input 'action_mask', and may "
        "choose disallowed actions. Fix: inputs = {**inputs of its role, 'action_mask': ami.blueprint.ACTION_MASK}"]
    alone = to_graph(compose([*overrides, "graph.actor.action_mask=null"], allow=["tests."]))
    assert alone.warnings == [] and "action_mask" not in {wire.to_port for wire in alone.inputs["actor"]}


def test_a_planner_that_receives_no_mask_is_named_with_the_mask_of_plans() -> None:
    overrides = [*BARE, f"world.id={HOSTILE}/Masked-v0", "planner._target_=tests.support.maskless.MasklessPlanner"]
    (warning,) = to_graph(compose(overrides, allow=["tests."])).warnings
    assert warning.startswith("planner does not receive world.action_mask") and warning.endswith("ami.blueprint.PLAN_MASK}")


@pytest.mark.parametrize("env", ["Taxi-v4", "FrozenLake-v1", "CliffWalking-v1", "Blackjack-v1"])
def test_the_toy_worlds_of_gymnasium_run(env: str) -> None:
    graph = to_graph(compose([*BARE, f"world.id={env}", "planner=categorical"]))
    assert ("action_mask" in graph.outputs["world"]) is (env == "Taxi-v4")
    with Agent(LocalRuntime(graph)) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), [Episode(0, 0)])
        assert [agent.cycle()["world.reward"].shape for _ in range(3)] == [(1,)] * 3


def test_a_mask_that_allows_nothing_is_reported_with_row_and_tick() -> None:
    with pytest.raises(AmiError, match=r"NothingAllowed-v0, row 0, tick 5, seed 0: port world.action_mask: \[0, 0, 0\] al"):
        cycled("NothingAllowed", ["planner=categorical"])
