"""Presentation of a finished run: plots, video and the run's page in MLflow. All of it can be remade from the folder.

It is made after summary, trace and weights are written; a part that fails does not affect the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ami.agent import Agent
from ami.blueprint import Episode, World
from ami.config.compose import Config, compose, to_graph
from ami.envs.world import GymWorld
from ami.errors import SettingError, require
from ami.evaluation.manifest import Manifest
from ami.evaluation.pictures import is_picture
from ami.evaluation.plots import plot_learning, plot_results
from ami.evaluation.table import FILE as SUMMARY_FILE
from ami.evaluation.video import Video, can_write_mp4, record_video, video_ports, write_gif, write_mp4
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.learning.learning_log import read_rows
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import Trained, open_trained
from ami.storage.store import default_store
from ami.terminal.best_effort import best_effort
from ami.terminal.console import Console
from ami.trace.header import overlay_of, read_header

SUMMARY, MANIFEST = "summary.json", "manifest.json"
FORMATS = {"gif": write_gif, "mp4": write_mp4}
NO_PICTURES = "no video: the world has no picture observations and no renderer with render_mode=rgb_array"
NO_OVERLAY = ("no paths in the video: the world does not declare where its state lies in its picture. "
              "Fix: metadata['overlay'], see docs/own_world.md")


@dataclass
class Presentation:
    """The plots and the video of a finished run.

    Args:
        folder: the run's folder.
        config: the run's config.
        graph: the agent's graph.
        manifest: the pairs of the evaluation.
        summary: every figure, as in summary.json.
        trained: the evaluated agent.
        note: called with each line for the user.
    """

    folder: Path
    config: Config
    graph: Graph
    manifest: Manifest
    summary: Mapping[str, Any]
    trained: Trained
    note: Callable[[str], None]

    @classmethod
    def open(cls, folder: Path, allow: Sequence[str], note: Callable[[str], None]) -> Presentation:
        """Open a finished run.

        Args:
            folder: the run's folder.
            allow: prefixes of your own packages that its modules may come from.
            note: called with each line for the user.

        Raises:
            TraceError, SettingError, UnknownName, GraphError: the folder holds no finished run, or its config is no longer
                valid.
            CheckpointError: its trained agent no longer exists.
        """
        details = read_header(folder)["details"]
        require("overrides" in details and (folder / SUMMARY).is_file(),
                f"{folder} holds no finished run: expected header.json and {SUMMARY}, as `ami run` leaves them")
        config = compose(details["overrides"], allow=allow)
        graph, summary = to_graph(config), SUMMARY_FILE.read_json(folder / SUMMARY, folder)
        weights = summary.get("details", {}).get("checkpoint")
        trained = open_trained(Path(weights), graph) if weights else Trained()
        return cls(folder, config, graph, Manifest.load(folder / MANIFEST), summary, trained, note)

    def parts(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield the name of each file and the function that makes it."""
        yield "results.png", lambda: plot_results(self.summary, self.folder / "results.png")
        rows = read_rows(self.folder) or self.trained.rows
        if rows:
            yield "learning.png", lambda: plot_learning(rows, self.folder / "learning.png")
        if self.config.settings.evaluation.video:
            shown: list[Video] = []
            yield "the video", lambda: shown.extend(self._record_video())
            for name in video_formats(self.config) if shown else ():
                yield f"episodes.{name}", partial(FORMATS[name], shown[0], self.folder / f"episodes.{name}")

    def _record_video(self) -> Iterator[Video]:
        """Yield the video of the first pairs of each kind; nothing, with a note, if the world has no pictures."""
        overlay = overlay_of(self.graph)
        is_shown = _shows_pictures(self.graph) and not (overlay is not None and overlay.is_of_render)
        graph = self.graph if is_shown else self._with_renderer()
        if graph is None:
            self.note(NO_PICTURES)
            return
        if overlay is None and graph is self.graph:
            self.note(NO_OVERLAY)
        watch = tuple(video_ports(graph).values())
        runtime = LocalRuntime(graph, self.config.settings.seed, self.trained.weights, watch=watch)
        world = runtime.worker.modules[graph.the(World)]
        with Agent(runtime) as agent:
            episodes = episodes_to_show(self.manifest, self.config.settings.evaluation.video)
            kinds = [str(self.manifest.pairs[episode.number]["kind"]) for episode in episodes]
            render = world.render if isinstance(world, GymWorld) and graph is not self.graph else None
            shown = record_video(agent, episodes, self.trained.readout, kinds=kinds, overlay=overlay, render=render)
        if shown is not None:
            yield shown

    def _with_renderer(self) -> Graph | None:
        """Return the graph with a world that renders pictures; None if the world has no renderer."""
        node = self.graph.the(World)
        world, part = self.graph.drafts[node], self.graph.specs[node]
        if not isinstance(world, GymWorld) or "rgb_array" not in (world.metadata.get("render_modes") or ()):
            return None
        drawn = copy(self.graph)  # the render mode changes no port and no size
        drawn.specs = {**self.graph.specs, node: ModuleSpec(part.target, {**part.settings, "render_mode": "rgb_array"})}
        return drawn


def present(shown: Presentation, console: Console) -> None:
    """Make plots and video of a run and store it in MLflow; each failure is one warning line with its fix."""
    for name, make in shown.parts():
        with best_effort(console, f"{name} was not made", f"Fix: `ami plot {shown.folder}` makes it later"):
            make()
    store(shown.config, shown.folder, console)
    console.note(where_to_look(shown.folder, Path(shown.config.settings.store)))


def store(config: Config, folder: Path, console: Console) -> None:
    """Store a finished run in MLflow; a failure is one warning line."""
    place = Path(config.settings.store)
    fix = f"Fix: `ami trace sync {folder}` stores it later"
    with (best_effort(console, f"the run is not in {place / 'mlflow.db'}", fix),
          console.counting("store in MLflow", 1, "") as bar):
        from ami.tracking.mlflow_runs import store

        store(folder, place)
        bar(1, str(place / "mlflow.db"))


def video_formats(config: Config) -> list[str]:
    """Return the formats of the video: those of evaluation.video_formats; by default gif, and mp4 if it can be written.

    Raises:
        SettingError: mp4 is requested and cannot be written.
    """
    asked = config.settings.evaluation.video_formats
    if asked is None:
        return [name for name in FORMATS if name != "mp4" or can_write_mp4()]
    if "mp4" in asked and not can_write_mp4():
        raise SettingError("evaluation.video_formats names mp4, which needs ffmpeg. Fix: pip install imageio-ffmpeg, or "
                           "evaluation.video_formats=[gif]")
    return list(asked)


def where_to_look(folder: Path, store_folder: Path) -> str:
    """Return the last lines of a run's output, with the folder as the user would type it."""
    folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    video_line = "\n  imagined plans         episodes.gif" if (folder / "episodes.gif").exists() else ""
    other = "" if store_folder == Path(default_store()) else f" --store {store_folder}"
    return (f"Everything is in {folder}\n  every figure           summary.json{video_line}\n"
            f"  one cycle of the agent ami trace show {folder} --tick 3\n  all runs, in a browser ami ui{other}")


def episodes_to_show(manifest: Manifest, count: int) -> list[Episode]:
    """Return the first pairs of each kind in turn, the hardest kind first; the choice does not depend on outcomes."""
    kinds: dict[str, list[Episode]] = {}
    for episode, pair in zip(manifest.episodes(), manifest.pairs, strict=True):
        kinds.setdefault(str(pair["kind"]), []).append(episode)
    queues: Sequence[list[Episode]] = list(reversed(kinds.values()))
    chosen = [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
    return chosen[:count]


def _shows_pictures(graph: Graph) -> bool:
    """Return whether the world's observations are pictures."""
    world = graph.the(World)
    port = graph.drafts[world].outputs["observation"]
    return is_picture(port.dtype, port.shape(graph.dims[world]))
