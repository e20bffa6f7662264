"""What the viewer shows and the table does not: two rooms and CartPole, in docs/studies/viewer.md.

Two agents learn (about a minute on 2 cores) and run their sealed episodes with every message recorded; the pages are opened
in Chromium.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import STUDIES, page, record

import ami
from ami import load_trace as load
from ami.replay.fork import fork
from ami.replay.recording import Recording
from ami.views.payloads import Recorded
from ami.views.viewer import view
from ami.views.viewer_data import pages

RUNS = {
    "two_rooms": ["experiment=quick", "learning.collect.episodes=200", "learning.stages.model.steps=300",
                  "learning.stages.critic.steps=300", "evaluation.video=0", "evaluation.pairs=100"],
    "cartpole": ["experiment=cartpole", "learning.rounds=1", "evaluation.pairs=20"],
}
COLOURS = 128
STUCK = (10, 55)  # the ticks of the analysis
WALL, NEAR = 16.0, 3.0  # px: the middle of the wall, and the distance at which a dot touches it
MORE = 256  # candidates
ALARMED = 1.25  # an episode counts as alarmed if its (negative) energy exceeds the median / this
ANGLE, SPEED, FALLEN = 2, 3, 0.209  # CartPole's observation: indices of rad and rad/s; the angle that ends an episode, rad
USER = """<script>
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {{key, bubbles: true}}));
for (const key of {keys}) press(key);
[...document.querySelectorAll("#graph .touch")].find(wire => wire.textContent.includes("{wire}"))
  .dispatchEvent(new MouseEvent("click", {{bubbles: true}}));
</script></body>"""


def live(name: str, place: Path) -> Path:
    config = ami.compose([*RUNS[name], "runtime=local", "trace.level=full", "evaluation.baselines=[]", f"store={place}"])
    ami.run(config, place / name)
    return place / name


def pictured(chromium: str, folder: Path, name: str, keys: list[str], wire: str) -> None:
    """Take a screenshot of the page after some key presses and a click on a wire."""
    tried = folder / "tried.html"
    tried.write_text((folder / "view.html").read_text().replace("</body>", USER.format(keys=keys, wire=wire)))
    subprocess.run([chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                    "--hide-scrollbars", "--window-size=1500,1200", "--virtual-time-budget=4000",
                    f"--user-data-dir={folder / 'profile'}", f"--screenshot={STUDIES / f'viewer_{name}.png'}",
                    tried.as_uri()],
                   capture_output=True, timeout=120, check=True)
    picture = STUDIES / f"viewer_{name}.png"
    Image.open(picture).quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


def array(episode: dict[str, Any], name: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(episode[name]), "<f4").reshape(-1, *episode[f"{name}_shape"])


def rooms(folder: Path) -> dict[str, Any]:
    """Analyse the failed pairs across the wall: those stuck at the wall, and the first of them against the solved ones."""
    tables = load(folder)
    episodes, ticks = tables.episodes.to_pandas(), tables.ticks.to_pandas()
    failed = episodes[(episodes["kind"] == "across") & ~episodes["success"]]
    window = slice(*STUCK)
    found: dict[str, Any] = {"failed": len(failed), "across": int((episodes["kind"] == "across").sum()), "at the wall": 0}
    stands = []
    for wave in sorted(set(failed["wave"])):
        whole = pages(tables.trace, wave=int(wave))
        for row in failed.loc[failed["wave"] == wave, "row"]:
            shown = whole.parts[f"episode-{wave}-{row}"]
            place = array(shown, "true")[window]
            if np.ptp(place[:, 0]) < 1 and np.abs(place[:, 0] - WALL).max() < NEAR:
                stands.append(float(np.abs(place[:, 1] - place[:, 2]).mean()))
                if len(stands) == 1:
                    found |= _stuck(shown, whole.run["planners"][0], int(wave), int(row))
    if not stands:
        return found
    wave, row = found["wave"], found["row"]
    failures = [*episodes.loc[~episodes["success"], ["wave", "row"]].itertuples(index=False, name=None)]
    is_own = (ticks["wave"] == wave) & (ticks["row"] == row)
    own = ticks[is_own & ticks["tick"].between(STUCK[0], STUCK[1] - 1)]
    solved = ticks.merge(episodes.loc[episodes["success"], ["wave", "row"]])
    return {**found, "at the wall": len(stands), "failure": failures.index((wave, row)) + 1,
            "from the door": [min(stands), float(np.median(stands)), max(stands)],
            "surprise": float(own["world_model.surprise"].mean()), "score": float(own["memory.score"].mean()),
            "surprise_of_solved": float(solved.loc[solved["live"], "world_model.surprise"].mean()),
            "forked": forked(folder, wave, row)}


def _stuck(shown: dict[str, Any], planner: dict[str, Any], wave: int, row: int) -> dict[str, Any]:
    """One stuck episode: its imagined and its true steps."""
    true, imagined, window = array(shown, "true"), array(shown["planners"][planner["node"]], "imagined"), slice(*STUCK)
    crosses = np.abs(imagined[:, :, 0] - true[:, None, 0]).max(1)[window] > NEAR
    return {"wave": wave, "row": row, "readout_r2": planner["readout"]["r2"],
            "door_away": float(np.abs(true[window, 1] - true[window, 2]).mean()),
            "imagined_step": float(np.linalg.norm(imagined[:-1, 0, :2] - true[:-1, :2], axis=1)[window].mean()),
            "true_step": float(np.linalg.norm(np.diff(true[:, :2], axis=0), axis=1)[window].mean()),
            "imagines to cross": float(crosses.mean()), "reach": np.ptp(true[window, :2], axis=0).tolist()}


def forked(folder: Path, wave: int, row: int) -> dict[str, Any]:
    """Fork the stuck episode and continue it with more candidates."""
    other = fork(Recording.open(folder), wave, STUCK[0], [f"planner.num_candidates={MORE}"], folder / "replays" / "more")
    episode = other.forked[other.rows.index(row)]
    return {"success": episode.success, "steps": episode.steps, "candidates": MORE}


def pole(folder: Path) -> dict[str, Any]:
    """The highest energy of each episode after its first tick, and the pole's true angle and speed there."""
    tables = load(folder)
    seen = np.stack([shown for _, shown in sorted(Recorded(tables.trace).at("world.observation", 0).items())])  # (T, B, 4)
    ticks = tables.ticks.to_pandas()
    ticks = ticks[ticks["live"] & (ticks["tick"] > 0)]
    worst = ticks.loc[ticks.groupby(["wave", "row"])["cost.energy"].idxmax()].sort_values("cost.energy", ascending=False)
    surprised = ticks.nlargest(5, "world_model.surprise")
    alarmed = worst[worst["cost.energy"] > worst["cost.energy"].median() / ALARMED]
    there = np.abs(seen[alarmed["tick"], alarmed["row"]])
    calm = np.delete(np.abs(seen).max(0), alarmed["row"], axis=0)
    return {"alarmed": len(alarmed), "alarmed_before": int(alarmed["tick"].max()) + 1,
            "angle_then": float(there[:, ANGLE].max()),
            "speed_then": [float(there[:, SPEED].min()), float(there[:, SPEED].max())],
            "speed_of_others": float(calm[:, SPEED].max()), "episodes": len(worst), "steps": int(ticks["tick"].max()),
            "median_energy": float(ticks["cost.energy"].median()),
            "worst_energies": worst["cost.energy"].tolist(), "worst_rows": worst["row"].tolist(),
            "worst_ticks": worst["tick"].tolist(), "most_surprised_rows": surprised["row"].tolist(),
            "most_surprised_ticks": surprised["tick"].tolist(),
            "highest_surprise": float(ticks["world_model.surprise"].max()),
            "median_surprise": float(ticks["world_model.surprise"].median())}


def main() -> int:
    torch.set_num_threads(1)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no Chromium on this machine: no page can be opened")
        return 2
    with tempfile.TemporaryDirectory() as place:
        folders = {name: live(name, Path(place)) for name in RUNS}
        for name, folder in folders.items():
            view(folder, render=name == "cartpole")
        one, two = rooms(folders["two_rooms"]), pole(folders["cartpole"])
        if not one["at the wall"]:  # another processor's last bits give another agent
            print("no episode was stuck at the wall: page, pictures and figures are not updated")
            return 1
        pictured(chromium, folders["two_rooms"], "two_rooms", [*["f"] * one["failure"], *["ArrowLeft"] * 5],
                 "planner.plan →")
        pictured(chromium, folders["cartpole"], "cartpole", ["s"], "actor.action @-1 → world_model")
    record("seen", {"two_rooms": one, "cartpole": two})
    page("viewer", text(one, two))
    return 0


def text(one: dict[str, Any], two: dict[str, Any]) -> str:
    notice = ("a configurator could detect it" if one["surprise"] > one["surprise_of_solved"] else
              "standing still is easy to predict, so a configurator that reads surprise would not help")
    return f"""
# What the viewer shows that the table does not

`ami view RUN` after `ami run … trace.level=full`, on two runs that learnt for less than a minute. The pictures show the
ticks that the page's keys `f`, *failure*, and `s`, *highest surprise*, jump to.

## Two rooms: plans through the wall

![Two rooms: a failed episode, five ticks before its end](viewer_two_rooms.png)

In the table {one["failed"]} of {one["across"]} pairs across the wall failed, since this agent learnt from little data.
The page shows how they fail: {one["at the wall"]} of them stay at the wall from tick {STUCK[0]} to {STUCK[1]},
{one["from the door"][1]:.0f} px from the middle of the door in the median. In the first of them, row {one["row"]} of wave
{one["wave"]}, the plans predict a first step of {one["imagined_step"]:.2f} px; the true step is {one["true_step"]:.2f}
px, up and down along the wall. At {100 * one["imagines to cross"]:.0f} % of these ticks the imagined plan passes through
the wall: the world model has not learnt all of it. Mean surprise is {one["surprise"]:.2f} there, and
{one["surprise_of_solved"]:.2f} in the solved episodes: {notice}. The memory recognises the place, with a score of
{one["score"]:.2f}.

A fix can be tried in this one episode, without statistical proof:
`ami replay RUN --fork {STUCK[0]} planner.num_candidates={MORE}` and `ami view RUN --reference` show the same episode
continued with more candidates: it {"reaches its goal" if one["forked"]["success"] else "is still not there"} after
{one["forked"]["steps"]} steps.

Places are read from imagined states by a linear map fitted on the same trace: R² {one["readout_r2"]:.4f} on ticks
held out.

## CartPole: equal returns, unequal energies

![CartPole: the tick of the highest surprise](viewer_cartpole.png)

All {two["episodes"]} episodes return {two["steps"]}, so the table does not separate them. Energy over time does. Its
median is {two["median_energy"]:.0f}; in {two["alarmed"]} episodes it rises as far as {two["worst_energies"][0]:.0f},
before tick {two["alarmed_before"]}: the critic predicts an early end. The pole is far from falling, at
{two["angle_then"]:.3f} rad or less; an episode ends at {FALLEN}. The cause is its speed, {two["speed_then"][0]:.1f} to
{two["speed_then"][1]:.1f} rad/s; the other episodes never reach {two["speed_of_others"] + 0.05:.1f}. The same motion
surprises the world model: the five highest surprises, up to {two["highest_surprise"]:.3f} against a median of
{two["median_surprise"]:.3f}, are at ticks {min(two["most_surprised_ticks"])} to {max(two["most_surprised_ticks"])} of
episodes {" and ".join(map(str, sorted(set(two["most_surprised_rows"]))))}. This agent lacks experience with fast poles;
the returns do not show it.
"""


if __name__ == "__main__":
    sys.exit(main())
