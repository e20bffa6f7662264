import base64
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ami import load_trace
from ami.agent import Agent
from ami.blueprint import Episode
from ami.cli.main import main
from ami.config.compose import compose, to_graph
from ami.errors import SettingError, TraceError, TrustError
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from ami.views import viewer_data, viewer_plans
from ami.views.rerender import Renderer
from ami.views.viewer import view
from ami.views.viewer_data import pages

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def record(graph: Graph, folder: Path, payload: bool, seed: int = 3, pairs: int = 5) -> Path:
    """Two waves of two pairs: one room, then across."""
    write_header(folder, graph, {"evaluation": {"batch": 2}}, seed=seed)
    manifest = Manifest.make(graph.drafts["world"], pairs, 2)
    manifest.save(folder / "manifest.json")
    with Agent(LocalRuntime(graph, seed, recorder=TraceLog(folder / "trace" / "agent-0", payload))) as agent:
        for wave, episodes in manifest.waves(2):
            for _ in rollout(agent, episodes, wave=wave):
                pass
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"at": tmp_path_factory.mktemp("runs")}


@pytest.fixture
def run(tiny_agent: Callable[..., Graph], runs: dict[str, Path]) -> Path:
    """A run with every message's content, made once."""
    if "whole" not in runs:
        runs["whole"] = record(tiny_agent(), runs["at"] / "run-7", payload=True)
    return runs["whole"]


def only_wave(trace: Trace, wave: int) -> Trace:
    """The first wave alone, under another number."""
    first = {node: table.filter(pc.equal(table["wave"], 0)) for node, table in trace.tables.items()}
    return replace(trace, tables={node: table.set_column(0, "wave", pa.array([wave] * len(table), pa.int32()))
                                  for node, table in first.items()})


def parts(page: Path) -> dict[str, dict]:
    """The JSON elements of a page, by name."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page.read_text(), re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_a_page_holds_every_wave_and_needs_no_network(run: Path) -> None:
    page = view(run)
    text = page.read_text()
    assert page == run / "view.html"
    assert "default-src 'none'" in text and not re.findall(r'(?:src|href)="(?!data:)|@import|url\(|fetch\(|XMLHttp', text)
    assert "Permission is hereby granted" in text, "the licence of the charts is included"
    held = parts(page)
    trace = Trace.open(run)
    assert [node["name"] for node in held["run"]["nodes"]] == list(trace.tables)
    assert [wave["ticks"] for wave in held["run"]["waves"]] == list(trace.waves.values())
    assert {"wave-0", "wave-1", "episode-0-0", "episode-1-1"} <= set(held)
    episodes = [episode for wave in held["run"]["waves"] for episode in wave["episodes"]]
    assert [episode["name"] for episode in episodes] == ["pair 0, same room", "pair 1, same room",
                                                         "pair 2, across", "pair 3, across"]
    assert all(episode["success"] and episode["over"] and len(episode["goal"]) == 2 for episode in episodes)
    assert held["run"]["missing"] == []


def test_an_episode_shows_its_pictures_and_imagined_plans(run: Path) -> None:
    whole = pages(Trace.open(run))
    episode = whole.parts["episode-1-0"]
    seen = whole.run["waves"][1]["episodes"][0]
    assert len(episode["pictures"]) == seen["ticks"] and episode["places"]
    (planner,), plan = whole.run["planners"], episode["planners"]["planner"]
    assert (planner["node"], planner["model"]) == ("planner", "world_model") and planner["readout"]["r2"] > 0.99
    assert plan["imagined_shape"][0] == 3
    true = np.frombuffer(base64.b64decode(episode["true"]), "<f4").reshape(-1, *episode["true_shape"])
    imagined = np.frombuffer(base64.b64decode(plan["imagined"]), "<f4").reshape(-1, *plan["imagined_shape"])
    error = np.linalg.norm(imagined[:-1, 0, :2] - true[1:, :2], axis=-1)
    assert np.median(error) < 1.5, "the first imagined place is near the next true one"


def test_an_episode_shows_the_energies_of_candidates_and_of_the_costs_terms(tmp_path: Path) -> None:
    graph = to_graph(compose(["agent=oracle"]))
    trace = Trace.open(record(graph, tmp_path / "oracle", payload=True))
    noted = trace.notes("planner", 1)
    ticks, iterations, candidates = len(noted), *noted[0]["candidates"].shape[1:]
    whole = pages(trace).parts["episode-1-0"]
    plan = whole["planners"]["planner"]
    energies = np.frombuffer(base64.b64decode(plan["candidates"]), "<f4").reshape(-1, iterations, candidates)
    assert plan["candidates_shape"] == [iterations, candidates] and len(energies) <= ticks
    assert np.allclose(energies[3].min(), noted[3]["candidates"][0].min())
    assert set(whole["terms"]) == {"cost: goal_distance"}
    assert trace.notes("actor", 1) == {}


@pytest.fixture
def two_levels(runs: dict[str, Path]) -> Path:
    """Two planners; four episodes in two rows, each refilled when its episode is over."""
    if "levels" not in runs:
        graph, folder = to_graph(compose(["agent=two_levels"])), runs["at"] / "levels"
        write_header(folder, graph, {"evaluation": {"batch": 2}}, seed=3)
        manifest = Manifest.make(graph.drafts["world"], 5, 2)
        manifest.save(folder / "manifest.json")
        with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0", payload=True))) as agent:
            for _ in rollout(agent, manifest.episodes(), 2, refill=True):
                pass
        runs["levels"] = folder
    return runs["levels"]


def test_every_planner_shows_its_plans_and_imagined_states(two_levels: Path) -> None:
    whole = pages(Trace.open(two_levels))
    assert [(one["node"], one["model"]) for one in whole.run["planners"]] == [
        ("planner", "world_model"), ("upper_planner", "upper_model")]
    assert all(one["readout"]["r2"] > 0.99 for one in whole.run["planners"])
    plans = whole.parts["episode-0-0"]["planners"]
    assert (plans["planner"]["imagined_shape"], plans["upper_planner"]["imagined_shape"]) == ([4, 3], [12, 3])
    upper = np.frombuffer(base64.b64decode(plans["upper_planner"]["imagined"]), "<f4").reshape(-1, 36)
    assert np.flatnonzero(np.isfinite(upper[:6, 0])).tolist() == [0, 4], "every fourth tick"
    assert {"candidates", "plan"} <= set(plans["planner"]) & set(plans["upper_planner"])


def test_a_planner_without_a_record_is_left_out(two_levels: Path) -> None:
    trace = Trace.open(two_levels)
    tables = {node: table for node, table in trace.tables.items() if node != "upper_planner"}
    assert [one["node"] for one in pages(replace(trace, tables=tables)).run["planners"]] == ["planner"]


def test_every_episode_of_a_refilled_row_is_listed(two_levels: Path) -> None:
    whole = pages(Trace.open(two_levels))
    (wave,) = whole.run["waves"]
    known = load_trace(two_levels).episodes.to_pylist()
    assert [(one["row"], one["first"], one["ticks"] - one["first"], one["success"], one["return"])
            for one in wave["episodes"]] == [
                (one["row"], one["first"], one["ticks"], one["success"], one["return"]) for one in known]
    assert sorted(one["name"] for one in wave["episodes"]) == [
        "pair 0, same room", "pair 1, same room", "pair 2, across", "pair 3, across"]
    later = next(one for one in wave["episodes"] if one["first"])
    part = whole.parts[f"episode-0-{later['row']}-{later['first']}"]
    true = np.frombuffer(base64.b64decode(part["true"]), "<f4").reshape(-1, *part["true_shape"])
    assert np.flatnonzero(np.isfinite(true[:, 0])).tolist() == list(range(later["first"], later["ticks"]))
    plan = part["planners"]["upper_planner"]
    upper = np.frombuffer(base64.b64decode(plan["imagined"]), "<f4").reshape(-1, 36)
    assert np.flatnonzero(np.isfinite(upper[:, 0])).tolist() == list(range(later["first"], later["ticks"], 4)), "by age"


def test_paths_are_drawn_at_the_overlay_of_the_world(run: Path, tmp_path: Path) -> None:
    trace = Trace.open(run)
    whole = pages(trace)
    assert whole.run["overlay"] == {"state": [0, 1], "top_left": [0, 0], "bottom_right": [32, 32], "goal_radius": 2}
    assert whole.parts["episode-0-0"]["places"] and len(whole.run["waves"][0]["episodes"][0]["goal"]) == 2
    silent = pages(replace(trace, header={**trace.header, "overlay": None}))
    assert not silent.parts["episode-0-0"]["places"] and silent.parts["episode-0-0"]["pictures"]
    assert silent.run["waves"][0]["episodes"][0]["goal"] is None
    assert silent.run["missing"] == ["No paths over the pictures: the world does not state where its state lies in them. "
                                     "Fix: metadata['overlay'], see docs/own_world.md."]
    wide = {"state": [0, 9], "top_left": [0, 0], "bottom_right": [1, 1]}
    assert not pages(replace(trace, header={**trace.header, "overlay": wide})).parts["episode-0-0"]["places"]
    with pytest.raises(TraceError, match=r"header\.json: overlay\['top_left'\] is \[0\]: expected two finite numbers"):
        pages(replace(trace, header={**trace.header, "overlay": {**wide, "top_left": [0]}}))


def test_another_agent_is_shown_with_its_differing_outputs(
        run: Path, tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    other = record(tiny_agent(), tmp_path / "other", payload=True, seed=4)  # its actions have other noise
    whole = pages(Trace.open(run), reference=Trace.open(other))
    assert whole.run["reference"] == "other"
    assert {"world", "planner", "actor"} <= set(whole.parts["reference-0"]["nodes"])
    assert "configurator" not in whole.parts["reference-0"]["nodes"], "its modes are the same"
    assert "true" in whole.parts["reference-1-1"]
    assert {"imagined", "plan"} <= set(whole.parts["reference-1-1"]["planners"]["planner"])
    assert "pictures" not in whole.parts["reference-1-1"]
    plans = [whole.parts[f"{name}-0-0"]["planners"]["planner"] for name in ("reference", "episode")]
    assert plans[0]["imagined"] != plans[1]["imagined"]


def test_an_agent_on_other_episodes_is_refused(
        run: Path, tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    other = Trace.open(record(tiny_agent(), tmp_path / "other", payload=True, pairs=6))
    for foreign in (other, only_wave(Trace.open(run), 9)):
        with pytest.raises(TraceError, match=r"--reference: .* holds none of the episodes of .*run-7: expected a trace"):
            pages(Trace.open(run), reference=foreign)
    forked = replace(other, header={**other.header, "details": {"fork_of": "run-7"}})
    assert pages(Trace.open(run), reference=forked).run["reference"] == "other", "a fork may continue in another world"


def test_a_fork_can_be_viewed(run: Path) -> None:
    """The trace of `ami replay --fork` begins at the tick of the fork."""
    trace = Trace.open(run)
    later = replace(trace, tables={node: table.filter(pc.greater(table["tick"], 2)) for node, table in trace.tables.items()})
    whole = pages(later)
    episode = whole.parts["episode-1-0"]
    assert episode["pictures"][:3] == [None] * 3 and episode["pictures"][3]
    assert whole.parts["wave-1"]["nodes"]["world"]["ticks"][0] == 3


def test_a_long_episode_is_shown_in_part_with_a_note(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace.open(run)
    lengths = [episode["ticks"] for wave in pages(trace).run["waves"] for episode in wave["episodes"]]
    monkeypatch.setattr(viewer_data, "MAX_TICKS", lengths[0] + 3)
    whole = pages(trace)
    assert {"episode-0-0", "episode-0-1"} == {name for name in whole.parts if name.startswith("episode")}
    assert [len(whole.parts[f"episode-0-{row}"]["pictures"]) for row in (0, 1)] == [lengths[0], 3]
    assert whole.run["missing"] == [
        "Pictures and plans of pair 1, same room were left out from tick 3 on, so that the page stays small.",
        "Pictures and plans of 2 episodes were left out, so that the page stays small. "
        "Fix: one wave per page, --wave W."]
    assert whole.parts["wave-1"]["nodes"]["planner"]["ports"]["energy"]["rows"], "figures are shown to the end"


def test_a_recalled_state_is_matched_to_the_nearest_past_state(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {tick: np.array([[9.0, 9.0], [tick, 0.0]], np.float32) for tick in range(8) if tick != 3}
    states[2][1] = np.nan
    recall = {tick: np.array([[0.0, 0.0], [at, 0.0]], np.float32)
              for tick, at in {0: 1.0, 1: 5.0, 2: 0.0, 4: 2.8, 5: 4.2, 6: 9.0, 7: 0.6}.items()}
    monkeypatch.setattr(viewer_plans, "TOGETHER", 2)
    assert viewer_plans._recalled(recall, states, 1, 8) == [-1, 0, -1, -1, 1, 4, 5, 1]
    assert viewer_plans._recalled(recall, states, 1, 6) == [-1, 0, -1, -1, 1, 4]
    assert viewer_plans._recalled(recall, states, 0, 8) == [-1] * 8, "nothing recalled"


def test_a_run_without_payloads_names_what_is_missing(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    page = view(record(tiny_agent(observe="state"), tmp_path / "bare", payload=False), tmp_path / "page.html", wave=1)
    held = parts(page)
    assert set(held) == {"run", "wave-1"}
    assert "the content of world.observation was not recorded" in held["run"]["missing"][0]
    assert "trace.level=full" in held["run"]["missing"][1]


def test_invalid_arguments_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no wave 9: expected 0 to 1\. Fix: --wave 1"):
        view(run, wave=9)
    with pytest.raises(TraceError, match="holds no run"):
        view(tmp_path)
    with pytest.raises(SettingError, match=r"^--render has no effect on .*: its observations are pictures\. Fix"):
        view(run, render=True)
    for deadline in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match=rf"^--deadline is {deadline}: expected milliseconds above 0, --deadline 20$"):
            view(run, deadline=deadline)
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="expected a file that can be written"):
        view(run, tmp_path / "file" / "page.html")


@pytest.fixture
def pole(tmp_path: Path) -> Path:
    """A run of a world with numeric observations and without success."""
    pytest.importorskip("pygame", reason="CartPole's renderer needs pygame")
    graph = to_graph(compose(["agent=random", "world=gym", "world.id=CartPole-v1", "perception=vector", "goal=none"]))
    return record(graph, tmp_path / "pole", payload=True)


def test_a_world_with_numeric_observations_is_rendered_from_the_recorded_actions(pole: Path) -> None:
    plain = pages(Trace.open(pole))
    assert "pictures" not in plain.parts["episode-0-0"] and "ami view --render" in plain.run["missing"][0]
    drawn = pages(Trace.open(pole), render=True)
    pictures = drawn.parts["episode-0-0"]["pictures"]
    assert len(pictures) == drawn.run["waves"][0]["episodes"][0]["ticks"] and len(set(pictures)) > 3
    assert not [text for text in drawn.run["missing"] if "pictures" in text]


def test_a_vector_world_is_rendered() -> None:
    renderer = Renderer({"_target_": "ami.envs.world.GymWorld", "id": "worlds:ami/TwoRooms-v0", "observe": "state"})
    options = {"start": (4.0, 4.0), "goal": (28.0, 28.0), "door": 10.0}
    pictures = renderer.pictures(Episode(0, 5, options), np.zeros((2, 2)), np.zeros(2))
    assert [picture.size for picture in pictures] == [(256, 256)] * 2
    renderer.close()


def test_a_world_that_is_not_reproduced_has_no_pictures(pole: Path) -> None:
    renderer = Renderer(Trace.open(pole).header["graph"]["nodes"]["world"])
    actions = np.tile([[1.0, 0.0]], (20, 1))
    assert renderer.pictures(Episode(0, 5), actions, np.array([0.0, 1.0, 0.5])) is None
    assert len(renderer.pictures(Episode(0, 5), actions, np.array([0.0, 1.0, 1.0]))) == 3
    renderer.close()


def test_a_run_that_cannot_be_rendered_is_refused(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    bare = record(tiny_agent(observe="state"), tmp_path / "bare", payload=False)
    with pytest.raises(TraceError, match=r"--render repeats .* holds no content of actor.action.* trace\.level=boundary"):
        view(bare, render=True)
    with pytest.raises(SettingError, match=r"the world is a mypkg\.World: expected a gymnasium world"):
        Renderer({"_target_": "mypkg.World"})
    world = {"_target_": "ami.envs.world.GymWorld", "observe": "state"}
    with pytest.raises(TrustError, match=r"^world\.id is 'evil:Pole-v1', which imports 'evil'.*--allow evil\."):
        Renderer({**world, "id": "evil:Pole-v1"})
    with pytest.raises(TrustError, match=r"^world\.wrappers names 'evil\.Wrapper'"):
        Renderer({**world, "id": "CartPole-v1", "wrappers": ["evil.Wrapper"]})
    with pytest.raises(SettingError, match="evil"):  # allowed, and not installed
        Renderer({**world, "id": "evil:Pole-v1"}, ["evil."])


def test_the_command_prints_the_path_of_the_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(run), "--out", str(tmp_path / "page.html"), "--deadline", "0.5"]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'page.html'}\n"
    assert parts(tmp_path / "page.html")["run"]["deadline"] == 0.5


# In a browser ---------------------------------------------------------------------------------------------------------

USER = """
<script>
(async () => {
const laid_out = () => new Promise(done => setTimeout(done, 50));
const seen = {errors: window.faults, ready: document.body.dataset.ready};
const tick = () => +document.getElementById("scrub").value;
const press = (key, more = {}) => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, ...more}));
const report = () => document.getElementById("status").textContent;
press("ArrowRight"); press("ArrowRight"); press("ArrowLeft"); seen.keys = tick();
press("End"); seen.end = tick(); press("Home"); seen.home = tick();
document.getElementById("surprise").click(); seen.surprise = report();
press("o"); seen.overrun = [report(), tick()];
press("f"); seen.failure = report();
press("ArrowDown"); seen.episode = document.getElementById("episode").value;
await laid_out();
const over = document.querySelector(".u-over"), box = over.getBoundingClientRect();
over.setPointerCapture = () => {};
const at = share => ({clientX: box.left + share * box.width, clientY: box.top + 5, buttons: 1, bubbles: true, pointerId: 1});
over.dispatchEvent(new PointerEvent("pointerdown", at(0.5))); seen.clicked = tick();
over.dispatchEvent(new PointerEvent("pointermove", at(1))); seen.dragged = tick();
press("Home"); press("ArrowRight");
seen.lit = document.querySelectorAll("#graph .wire.lit").length;
const wires = [...document.querySelectorAll("#graph .touch")];
wires.find(wire => wire.textContent.includes("actor.action @-1")).dispatchEvent(new MouseEvent("click", {bubbles: true}));
seen.message = document.getElementById("inspector").textContent;
document.querySelector("#graph .box").dispatchEvent(new MouseEvent("click", {bubbles: true}));
seen.module = document.getElementById("inspector").textContent;
press(" ");
setTimeout(() => { seen.played = tick(); press(" "); document.body.dataset.seen = JSON.stringify(seen); }, 450);
})();
</script>
"""


IN_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to run the page's script")


def tried(page: Path, user: str) -> dict[str, Any]:
    """The values that a user's script reports from a page in a browser."""
    watched = page.read_text().replace(
        "<head>", "<head><script>window.faults = []; addEventListener('error', fault => faults.push(fault.message)); "
                  "console.error = (...what) => faults.push(what.join(' '))</script>", 1)
    trial = page.with_name("tried.html")
    trial.write_text(watched.replace("</body>", user + "</body>"))
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               "--virtual-time-budget=3000", f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", trial.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[:400]
    return json.loads(html.unescape(found[1]))


@IN_CHROMIUM
def test_a_page_distinguishes_two_agents(
        run: Path, tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    other = record(tiny_agent(), tmp_path / "other", payload=True, seed=4)
    seen = tried(view(run, tmp_path / "page.html", reference=other), """
<script>
const text = id => document.getElementById(id).textContent;
document.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
document.body.dataset.seen = JSON.stringify({errors: faults, title: text("title"), facts: text("facts"), key: text("key"),
  hint: text("status"), charts: text("charts"), incomparable: !document.getElementById("incomparable").hidden});
</script>""")
    assert seen["errors"] == [] and seen["title"] == "run-7, reference: other" and not seen["incomparable"]
    assert seen["facts"].startswith("recordedreferencemode2: plans") and "2 worlds took" in seen["facts"]
    assert "reference: " in seen["key"] and "planner.energy, reference" in seen["charts"]
    assert seen["hint"].startswith("keys: ← → a tick, with shift ten")


@IN_CHROMIUM
def test_a_page_distinguishes_two_planners(two_levels: Path, tmp_path: Path) -> None:
    seen = tried(view(two_levels, tmp_path / "page.html"), """
<script>
const text = id => document.getElementById(id).textContent;
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const seen = {key: text("key"), lanes: document.getElementById("lanes").width > 0};
press("ArrowRight"); press("ArrowRight"); seen.facts = text("facts");
document.querySelector("#key .choice").click(); seen.hidden = document.querySelectorAll("#key .hidden").length;
const box = [...document.querySelectorAll("#graph .box")].find(box => box.textContent.startsWith("upper_planner"));
box.dispatchEvent(new MouseEvent("click", {bubbles: true})); seen.module = text("inspector");
const chosen = document.getElementById("planner");
seen.choices = [chosen.hidden, ...[...chosen.options].map(one => one.value)];
press("ArrowDown");
seen.first = +document.getElementById("scrub").min;
document.body.dataset.seen = JSON.stringify({errors: faults, ...seen});
</script>""")
    assert seen["errors"] == [] and seen["key"] == "pastfutureimagined by plannerimagined by upper_planner"
    assert seen["hidden"] == 1 and seen["choices"] == [False, "planner", "upper_planner"]
    assert "upper_planner.plan, 2 ticks old" in seen["facts"]
    assert "rests at this tick, fired last at tick 0" in seen["module"]
    assert "fires every 4 ticks of an episode: 0, 4" in seen["module"]
    episodes = parts(tmp_path / "page.html")["run"]["waves"][0]["episodes"]
    assert seen["first"] == episodes[1]["first"] > 0


def test_energies_of_another_cost_or_other_states_are_not_comparable(run: Path) -> None:
    trace = Trace.open(run)
    for why, is_reported in ((None, False), ("its plans look 8 steps ahead, the recorded ones 4", True)):
        swapped = replace(trace, header={**trace.header, "details": {"swap_of": "run-7", "incomparable": why}})
        assert pages(trace, reference=swapped).run["incomparable"] is is_reported


def test_a_run_without_success_is_shown_as_failed(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "manifest.json", tmp_path)
    trace = Trace.open(run)
    world = trace.tables["world"]
    never = world.set_column(world.column_names.index("success.rows"), "success.rows",
                             pa.array([[0.0] * 2] * len(world), world["success.rows"].type))
    assert pages(replace(trace, folder=tmp_path, tables={**trace.tables, "world": never})).run["reports_success"]


@IN_CHROMIUM
def test_a_page_in_a_browser_scrubs_plays_jumps_and_shows_a_message(run: Path, tmp_path: Path) -> None:
    seen = tried(view(run, tmp_path / "page.html"), USER)
    ticks = [episode["ticks"] for wave in parts(tmp_path / "page.html")["run"]["waves"] for episode in wave["episodes"]]
    assert seen["errors"] == []
    assert (seen["keys"], seen["end"], seen["home"]) == (1, ticks[0] - 1, 0)
    assert seen["surprise"].startswith("surprise 0, number 1 of")
    assert "twice the median" in seen["overrun"][0] or "No tick" in seen["overrun"][0]
    assert seen["failure"] == "No episode failed."
    assert seen["episode"] == "1"
    assert abs(seen["clicked"] - (ticks[1] - 1) / 2) <= 1 and seen["dragged"] == ticks[1] - 1
    assert seen["lit"] == 13, "every wire of the tiny agent"
    assert "actor.action → world.action" in seen["message"] and "1 tick old, tick 0" in seen["message"]
    assert "float32 (2, 2)" in seen["message"] and re.search(r"hash[0-9a-f]{16}", seen["message"])
    assert "world: ami.envs.world.GymWorld" in seen["module"] and "fired at this tick" in seen["module"]
    assert seen["played"] > 1
