"""The gallery's films: one short GIF for each family of models, of what it does or of what it makes of a picture.

    python benchmarks/films.py [NAME …] [--store runs/studies] [--set OVERRIDE …]

Agents are trained, or loaded from the store; `--set checkpoint=FOLDER` takes a run's agent instead. A film shows the first
sealed pairs of a manifest, chosen before their outcome, beside the picture of the goal. Films of encoders show pictures, the
part that the encoder sees, and what it makes of the rest. Writes docs/films/NAME.gif.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import torch
from masked_films import STEPS, masks
from PIL import Image, ImageSequence
from record import STUDIES
from study import learn, manifest_of, of_kind

import ami
from ami.config.compose import to_graph
from ami.evaluation.video import Video, write_gif
from ami.session.presentation import Presentation

FOLDER = STUDIES.parent / "films"
LARGEST = 400_000
"""Bytes of a film."""
WIDTH, FPS, MOST_FRAMES = 400, 8, 60


class Film(NamedTuple):
    """An agent's film.

    Attributes:
        overrides: the agent.
        kinds: of the pairs; empty for all.
        episodes: how many.
    """

    overrides: Sequence[str]
    kinds: Sequence[str] = ()
    episodes: int = 2


AGENTS = {
    "two_rooms": Film([]),
    "house": Film(["agent=house"], ("far",), 1),
    "tabletop": Film(["experiment=ac", "world.subgoals=true"], ("reach", "grasp")),
    "inverse_dynamics": Film(["experiment=[ac,inverse_dynamics]", "world.subgoals=true"], ("reach",)),
}
MASKS = tuple(STEPS)


def film(name: str, given: Sequence[str], store: Path, seed: int, path: Path) -> None:
    """Train or load an agent and write the film of its first pairs."""
    chosen = AGENTS[name]
    overrides = [*chosen.overrides, *given, "evaluation.video_formats=[gif]", f"evaluation.video={chosen.episodes}"]
    world = [text for text in chosen.overrides if text.startswith(("agent=", "experiment=", "world"))]
    manifest = manifest_of(chosen.episodes, *world)
    manifest = of_kind(manifest, chosen.kinds) if chosen.kinds else manifest
    trained = learn(overrides, seed, store)
    config = ami.compose([*overrides, f"seed={seed}", "runtime=local", f"store={store}"])
    with tempfile.TemporaryDirectory() as folder:
        shown = Presentation(Path(folder), config, to_graph(config), manifest, {}, trained, print)
        for part, make in shown.parts():
            if part in ("the video", "episodes.gif"):
                make()
        small(Path(folder) / "episodes.gif", path)


def small(source: Path, target: Path) -> None:
    """Write a GIF of `WIDTH` px from a larger one; of a long one every n-th frame, and the last of each episode."""
    with Image.open(source) as large:
        shown = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(large)]
    shortest, every = min(duration for _, duration in shown), -(-len(shown) // MOST_FRAMES)
    kept = [(frame, duration) for number, (frame, duration) in enumerate(shown)
            if number % every == 0 or duration > shortest]
    height = round(kept[0][0].height * WIDTH / kept[0][0].width)
    write_gif(Video([frame.resize((WIDTH, height), Image.Resampling.LANCZOS) for frame, _ in kept],
                    [max(1, round(duration * FPS / 1000)) for _, duration in kept], FPS), target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*AGENTS, *MASKS], help=f"some of {', '.join([*AGENTS, *MASKS])}")
    parser.add_argument("--store", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="OVERRIDE", help="of every agent")
    given = parser.parse_args()
    torch.set_num_threads(1)
    unknown = set(given.names) - {*AGENTS, *MASKS}
    if unknown:
        parser.error(f"unknown films: {', '.join(sorted(unknown))}; expected some of {', '.join([*AGENTS, *MASKS])}")
    too_large = 0
    for name in given.names:
        path = FOLDER / f"{name}.gif"
        if name in AGENTS:
            film(name, given.set, given.store, given.seed, path)
        else:
            write_gif(masks(name, given.set, given.store, given.seed), path)
        size = path.stat().st_size
        too_large += size > LARGEST
        print(f"{name:18} {size / 1000:.0f} kB{'  LARGER THAN IT MAY BE' if size > LARGEST else ''}", flush=True)
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
