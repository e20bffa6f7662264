"""Messages of a world: an environment's values as tensors of its ports, and actions as arrays, checked on the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from ami.blueprint import World
from ami.envs.actions import ActionCodec
from ami.envs.guard import Breach
from ami.envs.spaces import MASK, Reading, text_bytes
from ami.envs.vector import FAILURE, FAILURE_BYTES, RowFault
from ami.errors import PortError
from ami.ports import Port, Size

FLOAT32_SQUARED = 1e76


class Messages:
    """Converts the values of B environments to the messages of a world's output ports.

    Args:
        reading: the conversion of their observations to ports.
        codec: the conversion of their actions.
        info: the info of a first reset: whether they report a true state, its size, and action masks.
        reports_failure: whether a failed episode ends with its reason, which is then a port.

    Attributes:
        outputs: all output ports, also those that no wire reads.
        truth_size: the number of entries of the true state; 0 if none is reported.
    """

    def __init__(self, reading: Reading, codec: ActionCodec, info: Mapping[str, Any], reports_failure: bool = False) -> None:
        self.reading, self.codec = reading, codec
        self.outputs = _ports(reading)
        self.truth_size = int(np.size(info["state"][0])) if "state" in info else 0
        if codec.actions.choices and (MASK in info or MASK in self.outputs):
            self.outputs[MASK] = Port("mask", ("A",), torch.bool)
        if reports_failure:
            self.outputs[FAILURE] = Port("failure", (FAILURE_BYTES,), torch.uint8, is_text=True)

    @property
    def dims(self) -> Mapping[str, Size]:
        """The sizes of the ports by symbol: *O, *G and those of the other keys, X of the true state, A of an action."""
        shown: dict[str, Any] = {str(self.outputs[name].dims[0]).removeprefix("*"): port.space.shape
                                 for name, port in self.reading.ports.items() if name != MASK}
        return {"G": (0,), **shown, "X": self.truth_size, "A": self.codec.actions.width}

    @property
    def remarks(self) -> list[str]:
        """Notes on how the environment's spaces were converted to ports."""
        space, actions = self.codec.space, self.codec.actions
        action = [] if isinstance(space, Discrete) or _is_box(space) else [f"an action, {space}, is {actions}"]
        mask = [f"action_mask is info['{MASK}']"] if MASK in self.outputs and MASK not in self.reading.ports else []
        return [*self.reading.remarks, *action, *mask]

    def __call__(self, seen: Any, info: Mapping[str, Any], reward: np.ndarray, flags: Mapping[str, np.ndarray],
                 over: np.ndarray, episodes: np.ndarray, ports: Collection[str]) -> dict[str, Tensor]:
        """Return the messages of one step.

        Args:
            seen: the observations: an array (B, …), or one by port.
            info: the info of all rows.
            reward: (B,).
            flags: (B,) bool, by the port that sends it.
            over: (B,), whether the episode is over: a finished row needs no mask.
            episodes: (B,), the number of each row's episode, -1 after its end.
            ports: the ports to send.

        Raises:
            RowFault: a number is not finite, or the true state or a mask is missing or does not fit.
        """
        batch = len(reward)
        shown = {"goal": np.zeros((batch, 0)), **_by_port(seen)}
        masks = {MASK: self.allowed(seen, info, over)} if MASK in self.outputs else {}
        same = self.reading.same
        sent = {
            **{name: self._tensor(name, values) for name, values in shown.items() if name in ports and name != MASK},
            **{name: allowed for name, allowed in masks.items() if allowed is not None},
            "reward": self._tensor("reward", reward),
            **{name: torch.as_tensor(flag, dtype=torch.bool) for name, flag in flags.items()},
            "truth": self._tensor("truth", self._truth(info, batch)),
            "episode": torch.as_tensor(episodes),
        }
        if FAILURE in ports:
            reasons = info.get(FAILURE, [""] * batch)
            sent[FAILURE] = torch.from_numpy(np.stack([text_bytes(reason, FAILURE_BYTES) for reason in reasons]))
        return {name: sent[same.get(name, name)] for name in ports}

    def received(self, action: Tensor, ticks: np.ndarray) -> np.ndarray:
        """Return the actions (B, A) as an array; raises PortError, with the row's tick (B,), if one is not finite."""
        found = np.asarray(action.cpu())
        if not _is_finite(found):
            row = int((~np.isfinite(found)).any(axis=1).argmax())
            raise PortError(f"world.action received {found[row].tolist()} in row {row} at tick {ticks[row]}: expected "
                            "finite numbers. Fix: correct the module that sends it")
        return found

    def allowed(self, seen: Any, info: Mapping[str, Any], over: np.ndarray) -> Tensor | None:
        """Return the allowed alternatives, (B, A) bool, all of them in finished rows; None if the world has no mask."""
        if MASK not in self.outputs:
            return None
        ported = MASK in self.reading.ports
        masks = _by_port(seen)[MASK] if ported else info.get(MASK, [None] * len(over))
        allowed = np.ones((len(over), self.codec.actions.width), bool)
        for row in np.flatnonzero(~over).tolist():
            if masks[row] is None:
                raise RowFault(row, f"port world.{MASK}: info['{MASK}'] is missing: expected one at every step, as at the "
                                    "first reset")
            try:
                allowed[row] = masks[row] if ported else self.codec.flags(masks[row])
            except Breach as breach:
                raise RowFault(row, f"port world.{MASK}: {breach}") from None
            if not self.codec.allows(allowed[row]):
                flags = allowed[row, self.codec.actions.numbers:].astype(int).tolist()
                raise RowFault(row, f"port world.{MASK}: {flags} allows no action: expected an allowed alternative of each "
                                    "choice until the episode is over. Fix: correct the mask, or end the episode there")
        return torch.from_numpy(allowed)

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
        if not self.truth_size:
            return np.zeros((batch, 0), np.float32)
        states = info.get("state", [None] * batch)
        if FAILURE in info:  # an episode that failed at its reset has no state
            failed = zip(states, info[FAILURE], strict=True)
            states = [np.zeros(self.truth_size) if state is None and reason else state for state, reason in failed]
        if isinstance(states, np.ndarray) and states.size == batch * self.truth_size:
            return states.reshape(batch, -1)
        for row, state in enumerate(states):
            if state is None or np.size(state) != self.truth_size:
                found = "is missing" if state is None else f"has the shape {np.shape(state)}"
                raise RowFault(row, f"port world.truth: info['state'] {found}: expected {self.truth_size} numbers at every "
                                    "step, as at the first reset")
        return np.asarray(states, np.float64).reshape(batch, -1)


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
    return isinstance(space, Box) and np.issubdtype(space.dtype, np.floating)
