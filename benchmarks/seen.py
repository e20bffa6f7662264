"""What does the viewer show that the table does not? Two rooms and CartPole, looked at: docs/studies/viewer.md.

Both learn (about a minute on 2 cores), live their sealed episodes with every message recorded, and are opened in Chromium.
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
from ami.replay.fork import fork
from ami.replay.recording import Recording
from ami.tracing import load
from ami.tracing.payloads import Recorded
from ami.tracing.viewer import view
from ami.tracing.viewer_data import pages

RUNS = {
    "two_rooms": ["experiment=quick", "learning.collect.episodes=400", "learning.stages.model.steps=600",
                  "learning.stages.critic.steps=500", "evaluation.film=0"],
    "cartpole": ["experiment=cartpole", "learning.rounds=1", "evaluation.pairs=20"],
}
COLOURS = 128
STUCK = (10, 55)  # the ticks that are looked at
MORE = 256  # candidates
ALARMED = 1.25  # so many times less of its future than usual seems certain
ANGLE, SPEED, FALLEN = 2, 3, 0.209  # CartPole's observation: radians, radians per second; where an episode ends
USER = """<script>
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {{key, bubbles: true}}));
for (const key of {keys}) press(key);
[...document.querySelectorAll("#graph .touch")].find(wire => wire.textContent.includes("{wire}"))
  .dispatchEvent(new MouseEvent("click", {{bubbles: true}}));
</script></body>"""


def live(name: str, place: Path) -> Path:
    config = ami.compose([*RUNS[name], "runtime=local", "trace.level=full", "evaluation.beside=[]", f"store={place}"])
    ami.run(config, place / name)
    return place / name


def pictured(chromium: str, folder: Path, name: str, keys: list[str], wire: str) -> None:
    """A screenshot of the page after its user pressed some keys and clicked a wire."""
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
    """The first episode across the wall that failed, beside those that did not."""
    tables = load(folder)
    episodes, ticks = tables.episodes.to_pandas(), tables.ticks.to_pandas()
    failed = episodes[(episodes["kind"] == "across") & ~episodes["success"]]
    if failed.empty:
        return {"failed": 0}
    wave, row = (int(failed.iloc[0][key]) for key in ("wave", "row"))
    whole = pages(tables.trace, wave=wave)
    shown = whole.parts[f"episode-{wave}-{row}"]
    true, imagined, window = array(shown, "true"), array(shown, "imagined"), slice(*STUCK)
    own = ticks[(ticks["wave"] == wave) & (ticks["row"] == row) & ticks["tick"].between(STUCK[0], STUCK[1] - 1)]
    others = ticks[ticks["live"] & ~((ticks["wave"] == wave) & (ticks["row"] == row))]
    return {"failed": len(failed), "across": int((episodes["kind"] == "across").sum()), "wave": wave, "row": row,
            "readout_r2": whole.run["readout"]["r2"],
            "imagined_step": float(np.linalg.norm(imagined[:-1, 0, :2] - true[:-1, :2], axis=1)[window].mean()),
            "true_step": float(np.linalg.norm(np.diff(true[:, :2], axis=0), axis=1)[window].mean()),
            "reach": np.ptp(true[window, :2], axis=0).tolist(),
            "surprise": float(own["world_model.surprise"].mean()), "score": float(own["memory.score"].mean()),
            "surprise_of_others": float(others["world_model.surprise"].mean()), "forked": forked(folder, wave, row)}


def forked(folder: Path, wave: int, row: int) -> dict[str, Any]:
    """The same life from where it is stuck, with more candidates."""
    other = fork(Recording.open(folder), wave, STUCK[0], [f"planner.num_candidates={MORE}"], folder / "replays" / "more")
    life = other.forked[other.rows.index(row)]
    return {"success": life.success, "steps": life.steps, "candidates": MORE}


def pole(folder: Path) -> dict[str, Any]:
    """How near to its end each episode seemed to be: the highest energy after its first tick; and how near it was."""
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
        print("no Chromium on this machine: nothing can be looked at")
        return 2
    with tempfile.TemporaryDirectory() as place:
        folders = {name: live(name, Path(place)) for name in RUNS}
        for name, folder in folders.items():
            view(folder, render=name == "cartpole")
        one, two = rooms(folders["two_rooms"]), pole(folders["cartpole"])
        if not one["failed"]:  # another processor's last bits learn another mind
            print("no episode across the wall failed: the page, its pictures and its figures stay as they are")
            return 1
        pictured(chromium, folders["two_rooms"], "two_rooms", ["f", *["ArrowLeft"] * 5], "planner.plan →")
        pictured(chromium, folders["cartpole"], "cartpole", ["s"], "actor.action @-1 → world_model")
    record("seen", {"two_rooms": one, "cartpole": two})
    page("viewer", told(one, two))
    return 0


def told(one: dict[str, Any], two: dict[str, Any]) -> str:
    return f"""
# What the viewer shows that the table does not

`ami view RUN` after `ami run … trace.level=full`, on two runs that learnt for less than a minute. The pictures are of
the moments that the page's buttons *failure* and *highest surprise* lead to.

## Two rooms: stuck at the doorpost, and knowing it

![Two rooms: the failed episode, five ticks before its end](viewer_two_rooms.png)

The table says that {one["failed"]} of {one["across"]} pairs across the wall failed. The page says how: not by a wrong
way. From tick {STUCK[0]} to {STUCK[1]} the mind pushes against the edge of the door. Each plan imagines a first step
of {one["imagined_step"]:.2f} units, through the wall; the world grants {one["true_step"]:.2f}, up and down along the
wall within {one["reach"][1]:.1f} units. It has all it needs to notice: surprise is {one["surprise"]:.2f} all that
time, beside {one["surprise_of_others"]:.2f} in the other episodes, and memory recognises the place with a score of
{one["score"]:.2f}. But neither changes what is planned: the configurator, which hears of surprise, is `fixed`.

What might help can be tried on the spot, in one life and without proof:
`ami replay RUN --fork {STUCK[0]} planner.num_candidates={MORE}` and
`ami view RUN --beside` show the same life go on with more candidates: it
{"reaches its goal" if one["forked"]["success"] else "is still not there"} after {one["forked"]["steps"]} steps.

Places are read from imagined states by a linear map fitted on the same trace: R² {one["readout_r2"]:.4f} on ticks
held out.

## CartPole: equal returns, and where the mind is afraid

![CartPole: the tick of the highest surprise](viewer_cartpole.png)

All {two["episodes"]} episodes return {two["steps"]}: the table has nothing to tell apart. Energy over time does. It
rests at {two["median_energy"]:.0f}; in {two["alarmed"]} episodes it rises as far as {two["worst_energies"][0]:.0f},
before tick {two["alarmed_before"]}: the critic expects an early end. The pole is nowhere near one,
{two["angle_then"]:.3f} rad at most where {FALLEN} is a fall. It is its speed that alarms, {two["speed_then"][0]:.1f}
to {two["speed_then"][1]:.1f} rad/s, where the other episodes never reach {two["speed_of_others"] + 0.05:.1f}. The
same motion surprises the world model: the five highest surprises, up to {two["highest_surprise"]:.3f} beside a median
of {two["median_surprise"]:.3f}, are at ticks {min(two["most_surprised_ticks"])} to {max(two["most_surprised_ticks"])}
of episodes {" and ".join(map(str, sorted(set(two["most_surprised_rows"]))))}. Experience with fast poles is what this
mind lacks; no return says so.
"""


if __name__ == "__main__":
    sys.exit(main())
