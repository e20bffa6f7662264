"""`ami collect`: run an agent and write its episodes to a file that an agent can learn from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from ami.blueprint import World
from ami.config.compose import Config, to_graph
from ami.data.episode_folder import EpisodeFolder
from ami.data.replay_buffer import ReplayBuffer
from ami.data.write import write
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.learning.collect import collector, episodes_of
from ami.rng import derive_seed
from ami.session.learn import key_of, learn, opened
from ami.storage.files import check_folder
from ami.terminal.console import Console
from ami.trace.provenance import weights_hash

OWN = "ami"
UNFINISHED = ".episodes"
"""The ending of the folder that holds the episodes until they are written in another format."""


def collect_to(config: Config, path: Path, episodes: int, steps: int, batch: int, form: str = OWN,
               console: Console | None = None) -> ReplayBuffer:
    """Collect episodes of an agent, which is trained first if necessary, into a file.

    What a stopped collection wrote is whole and is continued.

    Args:
        config: the agent's config.
        path: the file; a folder for ami's own format and for Minari.
        episodes: the number of episodes in all.
        steps: the largest number of steps of an episode.
        batch: the number of parallel worlds.
        form: "ami", "npz", "hdf5" or "minari".
        console: prints progress; by default nothing is printed.

    Raises:
        SettingError: the file holds episodes of another agent, or of other weights.
        CheckpointError: a file of weights is missing or does not fit.
        DataError: the file is damaged, or a package for its format is missing.
    """
    console = console or Console(quiet=True)
    path = Path(path)
    folder = path if form == OWN else path.with_name(path.name + UNFINISHED)
    if form != OWN and path.exists():
        raise SettingError(f"'{path}' exists already. Fix: another name, or delete it")
    check_folder(folder.parent, "the file")
    graph = to_graph(config)
    files = EpisodeFolder(folder)
    made_by = _made_by(config, graph, steps)
    if files.columns and files.notes.get("made_by") != made_by:
        raise SettingError(f"'{folder}' holds {files.num_episodes} episodes of another agent, world, seed or length, "
                           "or of other weights. Fix: another name, or the settings and weights it was collected with")
    if files.num_episodes < episodes:
        folder.mkdir(parents=True, exist_ok=True)
        space = graph.drafts[graph.the(World)].inputs["action"].space
        files.notes = {"made_by": made_by, "overrides": list(config.overrides),
                       "choices": [] if space is None or space.numbers else list(space.choices)}
        _collect(config, graph, files, range(files.num_episodes, episodes), steps, batch, console)
    buffer = ReplayBuffer.open(folder)
    if form != OWN:
        write(buffer, path, form)
        shutil.rmtree(folder)
    return buffer


def _collect(config: Config, graph: Graph, files: EpisodeFolder, numbers: range, steps: int, batch: int,
             console: Console) -> None:
    seed = config.settings.seed
    weights = learn(config, console).weights
    with (console.counting("collect", numbers.stop, "episodes") as bar,
          collector(graph, derive_seed(seed, "collect"), weights) as agent):
        bar(numbers.start, "")
        show: Callable[[int], None] = lambda more: bar(more, "")  # noqa: E731
        try:
            for episode in episodes_of(agent, numbers, steps, batch, seed, show):
                files.append(episode)
        except KeyboardInterrupt:
            console.note(f"stopped: {files.num_episodes} whole episodes are in '{files.path}'; the same command continues")
            raise
        finally:
            if files.num_episodes:
                files.flush()


def _made_by(config: Config, graph: Graph, steps: int) -> str:
    """Return a hash of what the episodes depend on: settings, and weights or the training that makes them."""
    described = {node: spec.resolved() for node, spec in graph.specs.items()}
    weights = key_of(config) if config.settings.checkpoint is None else {
        node: weights_hash(own) for node, own in opened(config, graph).weights.items()}
    content = [described, config.settings.seed, steps, weights]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
