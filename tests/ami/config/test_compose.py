"""Composing: overrides reach constructors, typos get the nearest name, baselines keep the user's world."""

from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ami.cli.listing import options_of
from ami.config.compose import Config, compose, compose_baseline, to_graph, to_specs
from ami.config.options import groups
from ami.config.overrides import forced, refuse_two_values
from ami.errors import GraphError, SettingError, TrustError, UnknownName
from ami.graph.spec import ModuleSpec

KNOWN = ("actor, address, agent, agents, checkpoint, configurator, cost, evaluation, experiment, goal, graph, learning, "
        "memory, perception, placement, planner, prune, recovery, runtime, seed, store, trace, validation, world, "
         "world_model")


def test_a_setting_absent_from_the_options_reaches_the_constructor() -> None:
    assert to_specs(compose(["planner.horizon=6"]))["planner"].settings["horizon"] == 6


def test_a_setting_inside_a_mapping_reaches_the_constructor() -> None:
    world = to_specs(compose(["world.door=random"]))["world"]
    assert world.settings == {"id": "worlds:ami/TwoRooms-v0", "door": "random"}


def test_a_target_inside_a_setting_becomes_a_nested_spec() -> None:
    cost = to_specs(compose())["cost"]
    assert isinstance(cost.settings["critics"]["critic"], ModuleSpec)


def test_a_wire_and_a_rate_can_be_overridden_added_and_removed() -> None:
    graph = to_graph(compose(["graph.planner.every=2", "graph.actor.state=world_model.state@-1",
                              "~graph.world_model.recall"]))
    assert graph.every["planner"] == 2
    assert "world_model.state@-1 → actor.state" in map(str, graph.inputs["actor"])
    assert "recall" not in {wire.to_port for wire in graph.inputs["world_model"]}


def test_a_users_node_is_wired_in() -> None:
    graph = to_graph(compose(["+spare._target_=modules.memory.none.NoMemory",
                              "+graph.spare={state: world_model.state, energy: cost.energy}"]))
    assert "spare" in graph.order


def test_only_settings_are_forced() -> None:
    assert forced(["planner=cem", "planner.horizon=6", "+a.b=1", "++a.b=1", "~graph.a", "hydra.run.dir=x"]) == [
        "planner=cem", "++planner.horizon=6", "+a.b=1", "++a.b=1", "~graph.a", "hydra.run.dir=x"]


MISTAKES: list[tuple[list[str], type[Exception], str]] = [
    (["planer=cem"], UnknownName, "unknown setting or group 'planer': did you mean 'planner'?"),
    (["planner=cme"], UnknownName, "unknown planner 'cme': did you mean 'cem'?"),
    (["experiment=nothing_like_it"], UnknownName,
     f"unknown experiment 'nothing_like_it': expected one of {', '.join(name for name, _ in options_of('experiment'))}."),
    (["planner.horizn=6"], SettingError,
     "planner has no setting 'horizn': did you mean 'horizon'? (modules.planner.cem.CEM)"),
    (["planer.horizon=6"], UnknownName, "unknown setting or group 'planer': did you mean 'planner'?"),
    (["planer._target_=modules.planner.cem.CEM"], UnknownName,
     "unknown node 'planer': did you mean 'planner'? Fix for a node of your own: wire it, `+graph.planer={…}`"),
    (["+colour=red"], UnknownName, f"unknown setting or group 'colour': expected one of {KNOWN}."),
    (["evaluation.pair=9"], SettingError, "unknown setting 'evaluation.pair': did you mean 'pairs'?"),
    (["learning.stages.model.step=9"], SettingError,
     "unknown setting 'learning.stages.model.step': did you mean 'steps'?"),
    (["evaluation.pairs=many"], SettingError, "evaluation.pairs is 'many': expected a whole number from 1 to 1000000"),
    (["evaluation=3"], SettingError, "'evaluation=3' chooses no evaluation: expected a name, see `ami list`. "
                                     "Fix: leave it out"),
    (["learning=null"], SettingError, "'learning=null' chooses no learning: expected a name, see `ami list`. "
                                      "Fix: leave it out or, to learn nothing, learning=none"),
    (["experiment=null"], SettingError, "'experiment=null' chooses no experiment: expected a name, see `ami list`. "
                                        "Fix to take it out: `~experiment`"),
    (["~seed"], SettingError, "seed is missing. Fix: leave out the `~…` that removes it"),
    (["~evaluation.pairs", "~trace"], SettingError,
     "trace is missing. Fix: leave out the `~…` that removes it\n"
     "evaluation.pairs is missing. Fix: leave out the `~…` that removes it"),
    (["+extra._target_=modules.memory.none.NoMemory"], UnknownName,
     "unknown node 'extra': expected one of actor, configurator, cost, goal, memory, perception, planner, world, "
     "world_model. Fix for a node of your own: wire it, `+graph.extra={…}`"),
    (["runtime=loacl"], SettingError, "runtime is 'loacl': expected one of local, ray"),
    (["placement={a: planner}"], SettingError,
     "placement is {'a': 'planner'}: expected auto, module, agent, or a mapping {group: [nodes]}"),
    (["~planner", "+planner.horizon=6"], SettingError,
     "planner names no class: it has no `_target_`. Fix: planner=<choice>, see `ami list`"),
    (["planner.horizon=2,4"], SettingError, "'planner.horizon=2,4' asks for several runs: expected one value. "
                                            "Fix: `--multirun`, or, in Python, one call per value"),
    (["planner=null"], SettingError, "'planner=null' chooses no planner: expected a name, see `ami list`. "
                                     "Fix to take it out: `~planner`"),
    (["planner"], SettingError, "cannot read the override 'planner': expected `key=value`, `+key=value` or `~key`. "
                                "Fix for signs such as , : = in a value: quote it, `\"key='a,b'\"`"),
    (["~graph.memry"], SettingError, "the configuration does not compose: Could not delete from config. "
                                     "'graph.memry' does not exist."),
    (["~graph"], SettingError, "the configuration has no graph: None. Fix: graph=blueprint"),
    (["planner.horizon=${nowhere}"], SettingError,
     "the configuration does not resolve: planner.horizon: Interpolation key 'nowhere' not found"),
    (["planner.horizon=???"], SettingError, "the configuration does not resolve: planner.horizon: Missing "
                                               "mandatory value: horizon"),
    (["planner._target_=os.system"], TrustError,
     "planner._target_ is 'os.system': expected a class from modules., worlds., ami., torch.nn., torch.optim., gymnasium., "
     "minigrid., gymnasium_robotics. Fix, if you trust that code: `--allow os.`, or allow=['os.'] in Python"),
    (["world.id=antigravity:Fly-v0"], TrustError,
     "world.id is 'antigravity:Fly-v0', which imports 'antigravity': expected a class from modules., worlds., ami., "
     "torch.nn., torch.optim., gymnasium., minigrid., gymnasium_robotics. Fix, if you trust that code: "
     "`--allow antigravity.`, or allow=['antigravity.'] in Python"),
]


@pytest.mark.parametrize(("overrides", "kind", "sentence"), MISTAKES, ids=[" ".join(mistake[0]) for mistake in MISTAKES])
def test_a_mistake_is_refused_with_amis_message(overrides: list[str], kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as refused:
        compose(overrides)
    assert str(refused.value) == sentence


def test_a_string_is_not_a_list_of_overrides() -> None:
    with pytest.raises(SettingError, match=r"given the text 'seed=1': expected a list of overrides, \['seed=1'\]"):
        compose("seed=1")


def test_one_prefix_may_be_given_as_a_string() -> None:
    assert compose(allow="my_planners.").allow == ("my_planners.",)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(SettingError) as refused:
        compose(["planner.horizn=6", "evaluation.pair=9", "cost.weight=1"])
    assert str(refused.value).splitlines() == [
        "unknown setting 'evaluation.pair': did you mean 'pairs'?",
        "cost has no setting 'weight': did you mean 'weights'? (modules.cost.weighted_sum.WeightedSum)",
        "planner has no setting 'horizn': did you mean 'horizon'? (modules.planner.cem.CEM)"]


def test_a_target_is_checked_after_interpolation() -> None:
    with pytest.raises(TrustError, match=r"planner\._target_ is 'os\.system'"):
        compose(["store=os", "planner._target_=${store}.system"])


def test_a_target_deep_inside_a_setting_is_checked() -> None:
    with pytest.raises(TrustError, match=r"cost\.critics\.mine\._target_ is 'os\.system'"):
        compose(["cost.critics.mine._target_=os.system"])
    with pytest.raises(TrustError, match=r"planner\.horizon\[1\]\._target_ is 'os\.system'"):
        compose(["planner.horizon=[1,{_target_: os.system}]"])


def test_no_option_can_extend_the_allow_list(tmp_path: Path) -> None:
    option(tmp_path, "planner/mine", "_target_: os.system\nallow: [os.]\n")
    with pytest.raises(TrustError):
        compose([f"hydra.searchpath=[file://{tmp_path}]", "planner=mine"])


def test_no_option_can_reach_hydras_own_callbacks(tmp_path: Path) -> None:
    option(tmp_path, "experiment/evil", "# @package _global_\nhydra: {callbacks: {a: {_target_: os.system, command: ls}}}\n")
    with pytest.raises(TrustError) as refused:
        compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=evil"])
    assert str(refused.value) == ("an option sets hydra.callbacks: only the command line may, `hydra.callbacks=…`. "
                                  "Fix: remove it from the option")


def test_a_users_class_is_allowed_by_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_planners.py").write_text("from modules.planner.cem import CEM\n\n\nclass Mine(CEM):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = compose(["planner._target_=my_planners.Mine", "planner.horizon=3"], allow=["my_planners."])
    assert to_graph(config).specs["planner"].name == "my_planners.Mine"


def test_a_folder_of_users_options_is_searched(tmp_path: Path) -> None:
    option(tmp_path, "planner/mine", "# Mine.\n_target_: modules.planner.cem.CEM\nhorizon: 3\n")
    config = compose([f"hydra.searchpath=[file://{tmp_path}]", "planner=mine"])
    assert to_specs(config)["planner"].settings["horizon"] == 3


def test_several_folders_are_searched_in_their_order(tmp_path: Path) -> None:
    for number, folder in enumerate(("a, b", "c=d"), start=1):
        option(tmp_path / folder, "planner/mine", f"_target_: modules.planner.cem.CEM\nhorizon: {number}\n")
        option(tmp_path / folder, f"planner/mine{number}", "_target_: modules.planner.cem.CEM\n")
    searched = [f"hydra.searchpath=['{tmp_path}/a, b']", f"hydra.searchpath=['file://{tmp_path}/c=d']"]
    assert compose([*searched, "planner=mine"]).settings.planner.horizon == 1
    assert compose([*searched, "planner=mine2"]).settings.planner._target_ == "modules.planner.cem.CEM"


# Order: configs < agent < experiment < command line -------------------------------------------------------------------

PRESETS = {
    "defaults list": "defaults: [override /planner: mppi]\n",
    "own settings": "planner: {_target_: modules.planner.mppi.MPPI, temperature: 0.1}\n",
    "package": "defaults: [/planner/mppi@planner]\n",
}


@pytest.mark.parametrize("how", PRESETS)
@pytest.mark.parametrize("kind", ["agent", "experiment"])
def test_a_choice_on_the_command_line_wins_over_a_preset(kind: str, how: str, tmp_path: Path) -> None:
    option(tmp_path, f"{kind}/two", f"# @package _global_\n# Two?\n{PRESETS[how]}")
    mine = [f"hydra.searchpath=[file://{tmp_path}]", f"{kind}=two"]
    assert compose(mine).settings.planner._target_ == "modules.planner.mppi.MPPI"
    for words in (["planner=cem", *mine], [*mine, "planner=cem"]):
        planner = compose([*words, "planner.horizon=3"]).settings.planner
        assert planner == {"_target_": "modules.planner.cem.CEM", "horizon": 3}


def test_an_experiment_wins_over_an_agent_and_keeps_its_settings_for_a_chosen_module(tmp_path: Path) -> None:
    option(tmp_path, "agent/two", "# @package _global_\n# Two\nplanner: {horizon: 3}\n")
    option(tmp_path, "experiment/three", "# @package _global_\n# Three?\nplanner: {horizon: 7}\n")
    mine = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=three", "agent=two", "planner=mppi"]
    assert compose(mine).settings.planner == {"_target_": "modules.planner.mppi.MPPI", "horizon": 7}
    assert compose([*mine, "planner.horizon=9"]).settings.planner.horizon == 9


def test_two_experiments_are_combined() -> None:
    both = compose(["experiment=[quick,ema]"]).settings
    assert (both.evaluation.pairs, both.world_model.anti_collapse) == (10, "ema")


@pytest.mark.parametrize(("words", "sentence"), [
    (["planner=cem", "planner=mppi"],
     "'planner=cem planner=mppi' gives planner two values: expected one. Fix: leave one out"),
    (["planner.horizon=3", "+planner.horizon=4"],
     "'planner.horizon=3 +planner.horizon=4' gives planner.horizon two values: expected one. Fix: leave one out"),
    (["experiment=quick", "experiment=ema"], "'experiment=quick experiment=ema' gives experiment two values: expected one. "
                                             "Fix: experiment=[quick,ema] for both"),
])
def test_two_values_for_one_key_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(SettingError) as refused:
        refuse_two_values(["seed=1", *words])
    assert str(refused.value) == sentence


def test_the_same_value_twice_is_one_value() -> None:
    refuse_two_values(["planner=cem", "planner=cem", "~graph.memory", "~graph.memory", "planner.horizon=3"])


def test_composing_leaves_another_hydra_alone() -> None:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        compose()
        assert GlobalHydra.instance().hydra is outer


def test_groups_match_the_shipped_configuration() -> None:
    assert groups() == ("graph", "world", "perception", "world_model", "memory", "goal", "cost", "planner", "actor",
                        "configurator", "learning", "evaluation", "agent", "experiment")


def test_plain_values_are_interpolated_and_exclude_hydra() -> None:
    plain = compose(["planner.horizon=${seed}", "seed=5"]).plain()
    assert plain["planner"]["horizon"] == 5 and "hydra" not in plain


# Baselines ------------------------------------------------------------------------------------------------------------


def test_a_baseline_drops_overrides_of_replaced_groups_and_keeps_the_rest() -> None:
    mine = compose(["planner.horizon=6", "memory=none", "world.door=random", "seed=3", "checkpoint=there"])
    assert compose_baseline(mine, "oracle").overrides == (
        "planner.horizon=6", "memory=none", "world.door=random", "seed=3", "agent=oracle")
    assert compose_baseline(mine, "straight_line").overrides == (
        "world.door=random", "seed=3", "agent=straight_line")


def test_a_baseline_keeps_the_world_that_the_agent_chose() -> None:
    mine = compose(["agent=house", "world.battery=80"])
    baseline = to_specs(compose_baseline(mine, "random"))
    assert baseline["world"].settings == {"id": "worlds:ami/House-v0", "battery": 80}
    assert baseline["actor"].name == "modules.actor.random.RandomActor"


def test_the_oracle_plans_with_the_users_planner_in_the_users_world() -> None:
    oracle = to_specs(compose_baseline(compose(["planner.horizon=6", "world.door=random"]), "oracle"))
    assert oracle["planner"].settings["horizon"] == 6
    assert oracle["world"].settings == {"id": "worlds:ami/TwoRooms-v0", "observe": "state", "door": "random"}
    assert oracle["world_model"].name == "modules.world_model.simulator.Simulator"


def test_a_baseline_keeps_an_experiments_other_settings(tmp_path: Path) -> None:
    option(tmp_path, "experiment/mine", "# @package _global_\n# Why?\ndefaults:\n  - override /planner: random_shooting\n"
                                      "world_model: {hidden: 8}\nworld: {door: random, size: 16}\n"
                                      "placement: {'a': [world]}\nstore: it's here\n")
    mine = compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", "world.size=32"])
    oracle = compose_baseline(mine, "oracle")
    parts = to_specs(oracle)
    assert parts["planner"].name == "modules.planner.random_shooting.RandomShooting"
    assert "hidden" not in parts["world_model"].settings
    assert parts["world"].settings == {"id": "worlds:ami/TwoRooms-v0", "observe": "state", "door": "random", "size": 32}
    assert (oracle.settings.store, oracle.plain()["placement"]) == ("it's here", {"a": ["world"]})


def test_a_baseline_keeps_the_settings_of_two_experiments() -> None:
    oracle = compose_baseline(compose(["experiment=[random_shooting,quick]", "evaluation.video=0"]), "oracle").settings
    assert (oracle.planner._target_, oracle.evaluation.pairs, oracle.evaluation.video) == (
        "modules.planner.random_shooting.RandomShooting", 10, 0)


def test_a_baseline_replaces_the_users_agent() -> None:
    assert compose_baseline(compose(["agent=oracle"]), "random").overrides == ("agent=random",)


def test_an_unknown_baseline_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r"unknown agent 'orcle': did you mean 'oracle'\?"):
        compose_baseline(compose(), "orcle")


def option(folder: Path, name: str, text: str) -> None:
    """Write an option in a folder of the user's own."""
    file = folder / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("override", ["evaluation.pairs=${oc.env:SECRET}", "store=${oc.env:SECRET,none}/runs"])
def test_an_environment_variable_is_not_written_into_a_run(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "7")
    with pytest.raises(SettingError, match=r"(pairs|store): .*\$\{oc\.env:SECRET\}: .*may hold secrets. Fix: write"):
        compose([override])


def test_a_composed_name_of_the_resolver_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "7")
    with pytest.raises(SettingError, match="may hold secrets"):
        Config(OmegaConf.create({"word": "env", "setting": "${oc.${word}:SECRET}"})).plain()


def test_other_programs_resolve_environment_variables_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    compose([])
    monkeypatch.setenv("SECRET", "7")
    assert OmegaConf.create({"a": "${oc.env:SECRET}"}).a == "7"


def test_a_goal_cannot_be_wired_where_an_observation_is_expected() -> None:
    with pytest.raises(GraphError) as refused:
        to_graph(compose(["graph.perception.observation=world.goal"]))
    assert refused.value.mistakes == (
        "world.goal → perception.observation carries the kind 'goal_observation': perception.observation expects the kind "
        "'observation'. Fix: wire it from world.observation",)


def test_the_fix_for_an_unwired_goal_names_the_goal_port_not_the_observation() -> None:
    with pytest.raises(GraphError) as refused:
        to_graph(compose(["goal=image", "~graph.goal.observation"]))
    assert refused.value.mistakes == (
        "goal.observation is not wired and goal needs it (goal_observation any dtype (B, *G)). "
        "Fix: graph.goal.observation=world.goal",)
