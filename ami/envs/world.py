"""GymWorld: any gymnasium environment as the world node.

Supported spaces: `ami.envs.spaces` and `ami.envs.actions`. The true state is read from info["state"] and success from
info["success"]; a world that does not report success is evaluated by its returns. The position of the state in the picture
is declared in the environment's metadata, see `ami.envs.overlay`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from ami.blueprint import Episode, World
from ami.envs.actions import ActionCodec
from ami.envs.code import world_code
from ami.envs.guard import Breach
from ami.envs.make import EXAMPLE, check_elsewhere, make_env, make_rows
from ami.envs.output import inside_environment
from ami.envs.overlay import KEY as OVERLAY
from ami.envs.overlay import Overlay
from ami.envs.patience import expecting
from ami.envs.pool import pool
from ami.envs.remote import RemoteRows
from ami.envs.spaces import MASK, Reading
from ami.envs.trial import SEED, TRIAL, Trial, try_out
from ami.envs.vector import LIMIT, RowFault
from ami.errors import PortError, SettingError, WorldFault, require, suggestion
from ami.ports import Port, Size

RULES = ("last", "any")
FLOAT32_SQUARED = 1e76
DRAWS = 50  # the most seeds drawn per episode of an evaluation, to find one that is not solved at its start


class GymWorld(World):
    """B gymnasium environments side by side. Rows whose episode is over stand still until they are reset.

    Args:
        id: a gymnasium id; "package:id" imports the package that registers it. CartPole-v1 if neither it nor
            `entry_point` is given.
        wrappers: gymnasium wrappers, the innermost first: each by its full name, `minigrid.wrappers.FullyObsWrapper`, or
            with arguments, `{_target_: gymnasium.wrappers.FrameStackObservation, stack_size: 4}`.
        repeat: the number of environment steps per action; their rewards are summed.
        entry_point: the class of an unregistered environment, "module:Class".
        success: "last": an episode is solved if success is true at its last step; "any": at any step. None: as "last" if
            the environment reports success (at the first step or in the trial); else episodes are evaluated by return.
        timeout: the seconds that a reset or step of all rows may take. The environments then run in a child process, which
            is killed after that time and whose crash is a fault. None waits without limit, in this process.
        observation: the key of a Dict observation that is the port `observation`; None applies the rule of
            `ami.envs.spaces`.
        settings: keyword arguments of the environment; unknown ones are refused.

    Raises:
        SettingError: the id, a setting or a wrapper is unknown, a package is missing, or the spaces are not supported.
        WorldFault: the environment fails at its first reset or step.
    """

    def __init__(self, id: str | None = None, wrappers: Sequence[str | Mapping[str, Any]] = (), repeat: int = 1,
                 entry_point: str | None = None, success: str | None = None, timeout: float | None = None,
                 observation: str | None = None, **settings: Any) -> None:
        super().__init__()
        require(repeat >= 1, f"world.repeat is {repeat}: expected 1 or more")
        require(id is None or entry_point is None, f"world.id is '{id}' and world.entry_point is '{entry_point}': expected "
                                                   "one of them. Fix: leave one out")
        require(success in (None, *RULES), f"world.success is {success!r}{suggestion(str(success), RULES)}")
        self.env_id, self.wrappers, self.repeat = entry_point or id or EXAMPLE, tuple(wrappers), repeat
        require(timeout is None or timeout > 0, f"world.timeout is {timeout}: expected seconds above 0, or null")
        self._own, self._entry_point, self._success, self._timeout = settings, entry_point, success, timeout
        self._chosen = observation
        # the settings that define the world, for the manifest's seal
        shape: dict[str, Any] = {"wrappers": list(wrappers)} if wrappers else {}
        shape |= ({"repeat": repeat} if repeat > 1 else {}) | ({"success": success} if success else {})
        self.settings = settings | shape | ({} if observation is None else {"observation": observation})
        self._ticks = np.zeros(1, np.int64)
        self._waiting = nullcontext() if timeout is not None else expecting(self.env_id)
        self._rows: Any = None
        self._failed = False
        try:
            rows = self.rows
        except RowFault as fault:
            raise self._fault(fault, [0]) from fault.__cause__
        self.reading, self._action_space = rows.reading, rows.single_action_space
        self._limit: int | None = rows.limit
        self.metadata: Mapping[str, Any] = rows.drawing.metadata or {}
        self._codec = ActionCodec(self._action_space, self.env_id)
        self.space = self._codec.actions
        self.inputs = {"action": replace(World.inputs["action"], space=self.space)}
        self.outputs, self.on_demand = _ports(self.reading), set(self.reading.duplicated_by)
        try:
            with inside_environment(), self._waiting:
                seen, info = self.rows.reset([0], np.ones(1, bool), {})
                self._truth_size = int(np.size(info["state"][0])) if "state" in info else 0
                if self.space.choices and (MASK in info or MASK in self.outputs):
                    self.outputs[MASK] = Port("mask", ("A",), torch.bool)
                    require(repeat == 1, f"world.repeat is {repeat}, but {self.env_id} sends action masks, and a mask "
                                         "holds for one step only. Fix: world.repeat=1")
                allowed = self._allowed(seen, info, np.zeros(1, bool))
                self._ticks += 1
                first = self.space.nearest(torch.zeros(1, self.space.width), allowed).numpy()
                self._success_at_reset = self._reports_success = "success" in info
                self._reports_success |= "success" in self._stepped(first)[-1]
        except RowFault as fault:
            raise self._fault(fault, [0]) from fault.__cause__
        self.overlay = self._overlay()
        self._episodes: list[Episode] = []
        self._fresh = torch.zeros(0, dtype=torch.bool)
        self._solved = self._over = np.zeros(1, bool)
        if pool() is not None:
            self.close()

    @property
    def rows(self) -> Any:
        """Its environments; they are made at the first use."""
        if self._rows is None:
            self._rows = self._make(1)
        return self._rows

    def close(self) -> None:
        """Close its environments, or leave them to the next world of a run; a later episode makes or takes others."""
        rows, self._rows, self._fresh = self._rows, None, torch.zeros(0, dtype=torch.bool)
        keeper = pool()
        if rows is None:
            return
        if keeper is not None and self._is_kept and not self._failed:
            keeper.give_back(self._key, rows)
        else:
            rows.close()

    @property
    def limit(self) -> int | None:
        """The environment's declared number of steps per episode; None if it declares no limit."""
        return self._limit

    @property
    def reports_success(self) -> bool:  # type: ignore[override]
        """Whether episodes are evaluated by success: `success` is set, or the environment reports it."""
        return self._success is not None or self._reports_success or self.trial.reports_success

    @cached_property
    def trial(self) -> Trial:
        """One whole episode of random actions, in a separate environment.

        Raises:
            WorldFault: the environment fails in it.
            SettingError: it does not end, and no limit is declared.
        """
        twin = type(self)(None if self._entry_point else self.env_id, self.wrappers, self.repeat, self._entry_point,
                          timeout=self._timeout, observation=self._chosen, **self._own)
        twin.set_up(dict(twin.infer_dims({})))
        try:
            trial = try_out(twin)
        finally:
            twin.close()
        require(trial.ended or self.limit is not None,
                f"world {self.env_id} declares no limit, and an episode of random actions had not ended after {TRIAL} "
                "steps: expected an end. Fix: world.max_episode_steps=1000, or another limit")
        return trial

    def check_elsewhere(self) -> None:
        if self._entry_point is None:
            check_elsewhere(self.env_id)

    def facts(self) -> dict[str, str]:
        """Return its ports and actions, its episode limit, its rule for success, and whether seeds reproduce episodes."""
        sizes = {name: port.space.shape for name, port in self.reading.ports.items()}
        rule = "any step" if self._success == "any" else "its last step"
        return {port: f"{self.outputs[port].dtype} {size}".removeprefix("torch.") for port, size in sizes.items()} | {
            "action": str(self.space),
            "episode": f"at most {self.limit} steps" if self.limit else f"no limit declared: truncated after {LIMIT} steps",
            "success": f"an episode is solved if success is true at {rule}" if self.reports_success else "not reported",
            "seed": "the same seed gives the same episode" if self.trial.is_seeded else "ignored",
            "trial": f"{self.trial.steps} random steps{'' if self.trial.ended else ', not ended'}"}

    def warnings(self) -> list[str]:
        """Return the warnings of a trial, for the user before learning; raises as `trial` does."""
        trial, found = self.trial, []
        if not trial.is_seeded:
            found.append(f"world {self.env_id} ignores its seed: reset(seed={SEED}) and the same actions gave another "
                         "episode. The pairs of an evaluation are then not the same for all agents. Fix: draw from "
                         "self.np_random, after super().reset(seed=seed)")
        if self.limit is None:
            found.append(f"world {self.env_id} declares no limit: an episode is truncated after {LIMIT} steps. "
                         "Fix: world.max_episode_steps=1000, or another limit")
        if trial.solved_at is not None and not trial.solved_at_end and self._success is None:
            found.append(f"world {self.env_id} was solved at step {trial.solved_at} of a random episode and not at its end: "
                         "it counts as not solved. Fix: world.success=any counts it, world.success=last accepts the rule")
        return found

    @classmethod
    def code_roots(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        return tuple(world_code(settings))

    @property
    def remarks(self) -> list[str]:  # type: ignore[override]
        """Notes on how the environment's spaces were converted to ports."""
        space = self._action_space
        action = [] if isinstance(space, Discrete) or _is_box(space) else [f"an action, {space}, is {self.space}"]
        mask = [f"action_mask is info['{MASK}']"] if MASK in self.outputs and MASK not in self.reading.ports else []
        return [*self.reading.remarks, *action, *mask]

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        ports = self.reading.ports
        shown = {self.outputs[name].dims[0].removeprefix("*"): port.space.shape  # type: ignore[union-attr]
                 for name, port in ports.items() if name != MASK}
        return {"G": (0,), **shown, "X": self._truth_size, "A": self.space.width}

    def begin(self, mask: Tensor, episodes: Sequence[Episode]) -> None:
        if len(mask) != len(self._episodes):
            self._episodes = list(episodes)
        for row in mask.nonzero()[:, 0].tolist():
            self._episodes[row] = episodes[row]
        super().begin(mask, episodes)

    def reset(self, mask: Tensor) -> None:
        if self._rows is None or self._rows.num_envs != len(mask):
            self.close()
            self._rows = self._make(len(mask))
        # a new batch size makes new environments, which must all be reset
        self._fresh = mask | self._fresh if len(self._fresh) == len(mask) else torch.ones(len(mask), dtype=torch.bool)
        if len(self._ticks) != len(mask):
            self._ticks, self._solved = np.zeros(len(mask), np.int64), np.zeros(len(mask), bool)
            self._over = np.zeros(len(mask), bool)

    def step(self, action: Tensor) -> dict[str, Tensor]:
        try:
            with inside_environment(), self._waiting:
                return self._sent(action)
        except RowFault as fault:
            raise self._fault(fault, [episode.seed for episode in self._episodes]) from fault.__cause__

    def _sent(self, action: Tensor) -> dict[str, Tensor]:
        batch = len(action)
        reward, over = np.zeros(batch), [np.zeros(batch, bool), np.zeros(batch, bool)]
        fresh = self._fresh.numpy()
        stands = self._over & ~fresh
        self._ticks += 1
        if not fresh.all():
            seen, reward, *over, info = self._stepped(self._received(action))
        if fresh.any():
            self._ticks[fresh] = 0
            seeds = [e.seed if new else None for e, new in zip(self._episodes, fresh, strict=True)]
            seen, info = self.rows.reset(seeds, fresh.copy(), self._options())
            over = [np.where(fresh, False, flag) for flag in over]
            reward = np.where(fresh, 0.0, reward)
            self._fresh = torch.zeros(batch, dtype=torch.bool)
        self._over = over[0] | over[1]
        self._reports_success |= "success" in info
        solved = info.get("success", np.zeros(batch, bool))
        if self._success == "any":
            self._solved = solved = solved | (self._solved & ~fresh)
        shown = {"goal": np.zeros((batch, 0)), **_by_port(seen)}
        masks = {MASK: self._allowed(seen, info, over[0] | over[1])} if MASK in self.outputs else {}
        same = self.reading.same
        sent = {
            **{name: self._tensor(name, values) for name, values in shown.items() if name in self.outputs and name != MASK},
            **{name: allowed for name, allowed in masks.items() if allowed is not None},
            "reward": self._tensor("reward", reward),
            "terminated": torch.as_tensor(over[0], dtype=torch.bool),
            "truncated": torch.as_tensor(over[1], dtype=torch.bool),
            "success": torch.as_tensor(solved, dtype=torch.bool),
            "truth": self._tensor("truth", self._truth(info, batch)),
            "episode": torch.as_tensor(np.where(stands, -1, [episode.number for episode in self._episodes])),
        }
        return {name: sent[same.get(name, name)] for name in self.outputs}

    def render(self) -> list[np.ndarray]:
        """Render a picture per row, (H, W, 3) uint8; needs the setting render_mode="rgb_array"."""
        return [np.asarray(picture) for picture in self.rows.render()]

    def make_env(self) -> gymnasium.Env:
        """Make one environment as gymnasium does, with the configured wrappers, its spaces unchanged.

        Raises:
            SettingError: it cannot be made here.
        """
        return make_env(self.env_id, self._own, self.wrappers, self._entry_point, self._chosen)

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Sample start and goal pairs for an evaluation, `num_pairs` of each kind of the world, none solved at the start.

        For a world without pairs, a pair is a seed, of the kind "episode"; seeds whose episode is solved at its start are
        left out.

        Raises:
            SettingError: too many episodes are solved at their start.
            WorldFault: a reset fails.
        """
        was_open = self._rows is not None
        sampler = self.rows.pair_sampler
        try:
            if sampler is not None:
                return list(sampler(seed=seed, num_pairs=num_pairs))
        finally:
            if not was_open:
                self.close()
        draw = np.random.default_rng(seed)
        seeds = (int(draw.integers(2**31)) for _ in range(DRAWS * num_pairs))
        kept = seeds if not self._success_at_reset else self._unsolved(seeds)
        pairs = [{"kind": "episode", "seed": number} for number in islice(kept, num_pairs)]
        require(len(pairs) == num_pairs,
                f"world {self.env_id}: of {DRAWS * num_pairs} episodes {DRAWS * num_pairs - len(pairs)} are solved at their "
                f"start: expected {num_pairs} that are not. Fix: reset() must draw a start that is not at the goal")
        return pairs

    def _unsolved(self, seeds: Iterable[int]) -> Iterator[int]:
        """Yield the seeds whose episode is not solved at its start; a separate environment is reset to find out."""
        rows = self._make(1)
        try:
            for seed in seeds:
                try:
                    with inside_environment(), self._waiting:
                        _, info = rows.reset([seed], np.ones(1, bool), {})
                except RowFault as fault:
                    raise self._fault(fault, [seed]) from fault.__cause__
                if not np.any(info.get("success", False)):
                    yield seed
        finally:
            rows.close()

    def _stepped(self, action: np.ndarray) -> tuple[Any, ...]:
        """Step the running rows with actions (B, A) in [-1, 1], or one-hot, `repeat` times."""
        taken = self._codec.decode(action)
        seen, reward, *over, info = self.rows.step(taken)
        solved = info.get("success", False)
        for _ in range(self.repeat - 1):  # finished rows stand still with reward 0
            seen, more, *over, info = self.rows.step(taken)
            reward, solved = reward + more, solved | info.get("success", False)
            if self._success == "any" and "success" in info:
                info["success"] = solved
        return seen, reward, *over, info

    def _received(self, action: Tensor) -> np.ndarray:
        """Return the actions (B, A) as an array; raises PortError if one is not finite."""
        found = np.asarray(action.cpu())
        if not _is_finite(found):
            row = int((~np.isfinite(found)).any(axis=1).argmax())
            raise PortError(f"world.action received {found[row].tolist()} in row {row} at tick {self._ticks[row]}: expected "
                            "finite numbers. Fix: correct the module that sends it")
        return found

    def _tensor(self, port: str, values: np.ndarray) -> Tensor:
        """Convert values to the message of a port; raises RowFault if a number is not finite."""
        sent = torch.as_tensor(values, dtype=self.outputs[port].dtype or torch.float32)
        if not _is_finite(values) and not bool(sent.isfinite().all()):
            row, *place = (~sent.isfinite()).nonzero()[0].tolist()
            name = ("info['state']" if port == "truth" else port) + (str(place) if place else "")
            raise RowFault(row, f"port world.{port}: {name} is {float(sent[(row, *place)])}: expected finite numbers. Fix: "
                                "correct the environment, or replace the value in a wrapper, world.wrappers=[package.Class]")
        return sent

    def _truth(self, info: Mapping[str, Any], batch: int) -> np.ndarray:
        """Return the true states (B, X); their size is that of the first reset."""
        if not self._truth_size:
            return np.zeros((batch, 0), np.float32)
        states = info.get("state", [None] * batch)
        if isinstance(states, np.ndarray) and states.size == batch * self._truth_size:
            return states.reshape(batch, -1)
        for row, state in enumerate(states):
            if state is None or np.size(state) != self._truth_size:
                found = "is missing" if state is None else f"has the shape {np.shape(state)}"
                raise RowFault(row, f"port world.truth: info['state'] {found}: expected {self._truth_size} numbers at every "
                                    "step, as at the first reset")
        return np.asarray(states, np.float64).reshape(batch, -1)

    def _allowed(self, seen: Any, info: Mapping[str, Any], over: np.ndarray) -> Tensor | None:
        """Return the allowed alternatives, (B, A) bool, all of them in finished rows; None if the world has no mask."""
        if MASK not in self.outputs:
            return None
        ported = MASK in self.reading.ports
        masks = _by_port(seen)[MASK] if ported else info.get(MASK, [None] * len(over))
        allowed = np.ones((len(over), self.space.width), bool)
        for row in np.flatnonzero(~over).tolist():
            if masks[row] is None:
                raise RowFault(row, f"port world.{MASK}: info['{MASK}'] is missing: expected one at every step, as at the "
                                    "first reset")
            try:
                allowed[row] = masks[row] if ported else self._codec.flags(masks[row])
            except Breach as breach:
                raise RowFault(row, f"port world.{MASK}: {breach}") from None
            if not self._codec.allows(allowed[row]):
                flags = allowed[row, self.space.numbers:].astype(int).tolist()
                raise RowFault(row, f"port world.{MASK}: {flags} allows no action: expected an allowed alternative of each "
                                    "choice until the episode is over. Fix: correct the mask, or end the episode there")
        return torch.from_numpy(allowed)

    def _fault(self, fault: RowFault, seeds: Sequence[int]) -> WorldFault:
        """Return the error for a fault, with world, row, tick and seed; its environments serve no other world."""
        self._failed = True
        where = f"one of {len(seeds)} rows" if fault.row is None else f"row {fault.row}"
        seed = "" if fault.row is None else f", seed {seeds[fault.row]}"
        return WorldFault(f"world {self.env_id}, {where}, tick {self._ticks[fault.row or 0]}{seed}: {fault.found}")

    def _options(self) -> dict[str, Any]:
        """Return the episodes' reset options, one array per option, a row per environment."""
        names = sorted({name for episode in self._episodes for name in episode.options})
        if any(name not in episode.options for name in names for episode in self._episodes):
            raise SettingError(f"the episodes of one batch give different options ({', '.join(names)}): "
                               "expected the same ones in every row")
        return {name: np.asarray([episode.options[name] for episode in self._episodes]) for name in names}

    def _overlay(self) -> Overlay | None:
        """Read the position of the state in the picture from the environment's metadata."""
        where = f"{self.env_id}: metadata['{OVERLAY}']"
        overlay = Overlay.read(self.metadata.get(OVERLAY), where)
        shape = self.reading.ports["observation"].space.shape
        width = self._truth_size or (int(shape[0]) if len(shape) == 1 else 0)
        require(overlay is None or overlay.fits(width),
                f"{where}['state'] is {overlay and list(overlay.state)}: expected entries of info['state'], or of an "
                f"observation that is a vector, which has {width} numbers")
        return overlay

    def _make(self, num_envs: int) -> Any:
        how = self.env_id, num_envs, self._own, self.wrappers, self._entry_point, self._chosen
        with inside_environment(), self._waiting:
            if self._timeout is not None:
                return RemoteRows(self._timeout, *how)
            keeper = pool()
            return make_rows(*how) if keeper is None else keeper.take(self._key, num_envs, lambda: make_rows(*how))

    @property
    def _is_kept(self) -> bool:
        """Whether its environments may serve another world: they live in this process, and are made by `make_rows`."""
        return self._timeout is None and type(self)._make is GymWorld._make

    @property
    def _key(self) -> str:
        """The settings that its environments are made with."""
        return repr((self.env_id, sorted(self._own.items()), self.wrappers, self._entry_point, self._chosen))


def _is_finite(values: np.ndarray) -> bool:
    """Return whether no number is NaN, infinite or beyond float32, by one dot product; False may be a false alarm."""
    return values.dtype.kind != "f" or float(np.vdot(values, values)) < FLOAT32_SQUARED


def _ports(reading: Reading) -> dict[str, Port]:
    """Return a world's output ports: one per port of the reading, each with its own size symbol."""
    ports = dict(World.outputs)
    for name, shown in reading.ports.items():
        kind = World.outputs[reading.duplicated_by.get(name, "observation")].kind
        known = World.outputs.get(name, Port(kind, (f"*O.{name}",), None))
        ports[name] = replace(known, dtype=getattr(torch, shown.dtype), is_text=shown.is_text)
    return ports


def _by_port(seen: Any) -> Mapping[str, Any]:
    return seen if isinstance(seen, dict) else {"observation": seen}


def _is_box(space: Any) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating)
