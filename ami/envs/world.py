"""GymWorld: any gymnasium environment as the world node.

Supported spaces: `ami.envs.spaces` and `ami.envs.actions`. The true state is read from info["state"] and success from
info["success"]; a world that does not report success is evaluated by its returns. The position of the state in the picture
is declared in the environment's metadata, see `ami.envs.overlay`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ami.blueprint import Episode, World
from ami.envs.actions import MODE, ActionCodec
from ami.envs.code import world_code
from ami.envs.facts import facts_of, warnings_of
from ami.envs.failures import RULES as FAILURE_RULES
from ami.envs.failures import LastingRemoteRows
from ami.envs.make import EXAMPLE, check_elsewhere, make_env, make_rows
from ami.envs.messages import Messages
from ami.envs.output import inside_environment
from ami.envs.overlay import KEY as OVERLAY
from ami.envs.overlay import Overlay
from ami.envs.pairs import seed_pairs
from ami.envs.patience import expecting
from ami.envs.pool import pool
from ami.envs.remote import RemoteRows
from ami.envs.spaces import MASK
from ami.envs.trial import TRIAL, Trial, try_out
from ami.envs.vector import FAILURE, RowFault
from ami.errors import SettingError, WorldFault, require, suggestion
from ami.ports import Port, Size

RULES = ("last", "any")
ON_DEMAND = "on_demand"
"""The entry of an environment's metadata that names keys of its observation that are sent only if a wire reads them."""


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
        on_failure: what a raising or ended environment leads to, see `ami.envs.failures`: "raise" ends the run, "fail" the
            episode, "retry" repeats the episode first. Unless it is "raise", the world sends `failure`, the reason.
        observation: the key of a Dict observation that is the port `observation`; None applies the rule of
            `ami.envs.spaces`.
        settings: keyword arguments of the environment; unknown ones are refused.

    Raises:
        SettingError: the id, a setting or a wrapper is unknown, a package is missing, or the spaces are not supported.
        WorldFault: the environment fails at its first reset or step.
    """

    inputs = {**World.inputs, MODE: Port("mode", (), torch.int64, optional=True)}  # only in worlds that receive it

    def __init__(self, id: str | None = None, wrappers: Sequence[str | Mapping[str, Any]] = (), repeat: int = 1,
                 entry_point: str | None = None, success: str | None = None, timeout: float | None = None,
                 observation: str | None = None, on_failure: str = "raise", **settings: Any) -> None:
        super().__init__()
        require(repeat >= 1, f"world.repeat is {repeat}: expected 1 or more")
        require(id is None or entry_point is None, f"world.id is '{id}' and world.entry_point is '{entry_point}': expected "
                                                   "one of them. Fix: leave one out")
        require(success in (None, *RULES), f"world.success is {success!r}{suggestion(str(success), RULES)}")
        require(on_failure in FAILURE_RULES,
                f"world.on_failure is {on_failure!r}{suggestion(str(on_failure), FAILURE_RULES)}")
        self.env_id, self.wrappers, self.repeat = entry_point or id or EXAMPLE, tuple(wrappers), repeat
        require(timeout is None or timeout > 0, f"world.timeout is {timeout}: expected seconds above 0, or null")
        self._own, self._entry_point, self.success_rule, self._timeout = settings, entry_point, success, timeout
        self._chosen, self._on_failure = observation, on_failure
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
        self.reading = rows.reading
        self._limit: int | None = rows.limit
        self.metadata: Mapping[str, Any] = rows.drawing.metadata or {}
        self._codec = ActionCodec(rows.single_action_space, self.env_id)
        self.space = self._codec.actions
        self.inputs = {"action": replace(World.inputs["action"], space=self.space)}
        if self._codec.receives_mode:
            self.inputs[MODE] = Port("mode", (), torch.int64)
        self.on_demand = {*self.reading.duplicated_by, *self._rarely_read()}
        try:
            with inside_environment(), self._waiting:
                seen, info = self.rows.reset([0], np.ones(1, bool), {})
                if FAILURE in info:
                    raise RowFault(0, info[FAILURE][0])
                self._messages = Messages(self.reading, self._codec, info, on_failure != "raise")
                self.outputs = self._messages.outputs
                require(repeat == 1 or not self.space.choices or MASK not in self.outputs,
                        f"world.repeat is {repeat}, but {self.env_id} sends action masks, and a mask holds for one step "
                        "only. Fix: world.repeat=1")
                allowed = self._messages.allowed(seen, info, np.zeros(1, bool))
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
        return self.success_rule is not None or self._reports_success or self.trial.reports_success

    @cached_property
    def trial(self) -> Trial:
        """One whole episode of random actions, in a separate environment.

        Raises:
            WorldFault: the environment fails in it.
            SettingError: it does not end, and no limit is declared.
        """
        twin = type(self)(None if self._entry_point else self.env_id, self.wrappers, self.repeat, self._entry_point,
                          timeout=self._timeout, observation=self._chosen, on_failure=self._on_failure, **self._own)
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
        return facts_of(self)

    def warnings(self) -> list[str]:
        return warnings_of(self)

    @classmethod
    def code_roots(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        return tuple(world_code(settings))

    @property
    def remarks(self) -> list[str]:  # type: ignore[override]
        return self._messages.remarks

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return self._messages.dims

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

    def step(self, action: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        try:
            with inside_environment(), self._waiting:
                return self._sent(action, None if mode is None else mode.cpu().numpy())
        except RowFault as fault:
            raise self._fault(fault, [episode.seed for episode in self._episodes]) from fault.__cause__

    def _sent(self, action: Tensor, mode: np.ndarray | None) -> dict[str, Tensor]:
        batch = len(action)
        reward, over = np.zeros(batch), [np.zeros(batch, bool), np.zeros(batch, bool)]
        fresh = self._fresh.numpy()
        stands = self._over & ~fresh
        self._ticks += 1
        if not fresh.all():
            seen, reward, *over, info = self._stepped(self._messages.received(action, self._ticks), mode)
        if fresh.any():
            self._ticks[fresh] = 0
            seeds = [e.seed if new else None for e, new in zip(self._episodes, fresh, strict=True)]
            seen, info = self.rows.reset(seeds, fresh.copy(), self._options())
            over = [np.where(fresh, False, flag) for flag in over]
            over[1] |= fresh & [bool(reason) for reason in info.get(FAILURE, [""] * batch)]
            reward = np.where(fresh, 0.0, reward)
            self._fresh = torch.zeros(batch, dtype=torch.bool)
        self._over = over[0] | over[1]
        self._reports_success |= "success" in info
        solved = info.get("success", np.zeros(batch, bool))
        if self.success_rule == "any":
            self._solved = solved = solved | (self._solved & ~fresh)
        numbers = np.where(stands, -1, [episode.number for episode in self._episodes])
        flags = {"terminated": over[0], "truncated": over[1], "success": solved}
        return self._messages(seen, info, reward, flags, self._over, numbers, self.outputs)

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
        if not self._success_at_reset:
            return seed_pairs(self.env_id, seed, num_pairs)
        separate = self._make(1)
        try:
            return seed_pairs(self.env_id, seed, num_pairs, lambda number: self._begins_solved(separate, number))
        finally:
            separate.close()

    def _begins_solved(self, rows: Any, seed: int) -> bool:
        """Reset one environment with a seed; return whether its episode is solved at its start."""
        try:
            with inside_environment(), self._waiting:
                _, info = rows.reset([seed], np.ones(1, bool), {})
        except RowFault as fault:
            raise self._fault(fault, [seed]) from fault.__cause__
        return bool(np.any(info.get("success", False)))

    def _stepped(self, action: np.ndarray, mode: np.ndarray | None = None) -> tuple[Any, ...]:
        """Step the running rows with actions (B, A) in [-1, 1], or one-hot, and modes (B,), `repeat` times."""
        taken = self._codec.decode(action, mode)
        seen, reward, *over, info = self.rows.step(taken)
        solved = info.get("success", False)
        for _ in range(self.repeat - 1):  # finished rows stand still with reward 0
            seen, more, *over, info = self.rows.step(taken)
            reward, solved = reward + more, solved | info.get("success", False)
            if self.success_rule == "any" and "success" in info:
                info["success"] = solved
        return seen, reward, *over, info

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

    def _rarely_read(self) -> Sequence[str]:
        """Return the ports that the environment's metadata leaves out unless a wire reads them."""
        names = self.metadata.get(ON_DEMAND, ())
        optional = [name for name in self.reading.ports if name not in World.outputs]
        for name in names:
            require(name in optional, f"{self.env_id}: metadata['{ON_DEMAND}'] names '{name}'{suggestion(name, optional)}")
        return tuple(names)

    def _overlay(self) -> Overlay | None:
        """Read the position of the state in the picture from the environment's metadata."""
        where = f"{self.env_id}: metadata['{OVERLAY}']"
        overlay = Overlay.read(self.metadata.get(OVERLAY), where)
        shape = self.reading.ports["observation"].space.shape
        width = self._messages.truth_size or (int(shape[0]) if len(shape) == 1 else 0)
        require(overlay is None or overlay.fits(width),
                f"{where}['state'] is {overlay and list(overlay.state)}: expected entries of info['state'], or of an "
                f"observation that is a vector, which has {width} numbers")
        return overlay

    def _make(self, num_envs: int) -> Any:
        how = self.env_id, num_envs, self._own, self.wrappers, self._entry_point, self._chosen, self._on_failure
        with inside_environment(), self._waiting:
            if self._timeout is not None and self._on_failure != "raise":
                return LastingRemoteRows(self._on_failure == "retry", self._timeout, *how)
            if self._timeout is not None:
                return RemoteRows(self._timeout, *how)
            keeper = pool()
            if keeper is None or not self._is_kept:
                return make_rows(*how)
            return keeper.take(self._key, num_envs, lambda: make_rows(*how))

    @property
    def _is_kept(self) -> bool:
        """Whether its environments may serve another world: they live in this process, and are made by `make_rows`."""
        return self._timeout is None and self._on_failure == "raise" and type(self)._make is GymWorld._make

    @property
    def _key(self) -> str:
        """The settings that its environments are made with."""
        return repr((self.env_id, sorted(self._own.items()), self.wrappers, self._entry_point, self._chosen))
