"""Recording: one episode as a file holds it, and its conversion to the rows of a `ReplayBuffer`, with every check.

Whatever a file holds is untrusted: a fault names the file, the episode, the step and the field before anything is learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, TRUTH, with_first, with_last
from ami.errors import DataError
from ami.ports import DTYPES

TRUNCATED, NEXT = "truncated", "next_observation"
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Recording:
    """One episode of a file.

    Attributes:
        name: its name in the file, for messages.
        fields: arrays by field: "observation" (n + 1, *O), or (n, *O) if the last one was not recorded; and, if recorded,
            "action" (n, …), "reward" (n,), "terminated" and "truncated" (n,), "truth" (n + 1, X) and "next_observation"
            (n, *O).
    """

    name: str
    fields: Mapping[str, Array]


@dataclass(frozen=True)
class ActionCode:
    """How a file writes actions. They become vectors as `ami.actions.ActionSpace` describes.

    Attributes:
        low, high: the bounds of numbers, each one number or (A,); they become [-1, 1].
        choices: the number of alternatives of whole numbers, which become one-hot; 0 for numbers.
        start: the first of these whole numbers.
    """

    low: Any = -1.0
    high: Any = 1.0
    choices: int = 0
    start: int = 0

    def vectors(self, actions: Array) -> Array:
        """Convert actions (n, …) to vectors (n, A), float32."""
        if self.choices:
            return np.eye(self.choices, dtype=np.float32)[actions.reshape(len(actions)).astype(np.int64) - self.start]
        low, high = np.ravel(self.low).astype(np.float64), np.ravel(self.high).astype(np.float64)
        flat = actions.reshape(len(actions), -1)
        if (low == -1).all() and (high == 1).all():
            return flat.astype(np.float32)
        scaled: Array = (2 * (flat - low) / (high - low) - 1).astype(np.float32)
        return scaled


class Checker:
    """Converts the recordings of one file, and refuses those that cannot be learnt from.

    Args:
        path: the file, for messages.
        code: how it writes actions.

    Attributes:
        num_episodes: the number of recordings converted so far.
    """

    def __init__(self, path: object, code: ActionCode) -> None:
        self.path, self.code = path, code
        self.num_episodes = 0
        self._first: dict[str, str] = {}

    def rows(self, recording: Recording) -> dict[str, Tensor]:
        """Return the rows (n + 1, …) of an episode by field.

        Raises:
            DataError: its lengths do not fit, a value is not finite, a field's dtype or shape differs from the first
                episode's, it is empty, or an action is outside of its bounds.
        """
        fields = {name: np.asarray(value) for name, value in recording.fields.items()}
        if OBSERVATION not in fields:
            raise self._fault(recording, f"the field {OBSERVATION} is missing", "observations",
                              "name it, learning.fields={observation: NAME}")
        observed = fields[OBSERVATION] = self._complete(recording, fields)
        steps = len(observed) - 1
        if steps < 1:
            raise self._fault(recording, f"it is empty: {len(observed)} observations", "2 or more, with a step between them",
                              "leave the episode out of the file")
        recorded_all = len(fields.get(ACTION, ())) != steps + 1
        fields.setdefault(ACTION, np.zeros((steps, 0), np.float32))
        for name in (ACTION, REWARD, TERMINATED, TRUTH):
            if name in fields:
                fields[name] = self._fitted(recording, name, fields[name], steps, recorded_all)
                self._check_values(recording, name, fields[name])
        self._check_values(recording, OBSERVATION, observed)
        vectors = torch.from_numpy(self._vectors(recording, fields[ACTION]))
        rows = {OBSERVATION: _tensor(observed), ACTION: with_last(vectors)}
        if TRUTH in fields:
            rows[TRUTH] = torch.from_numpy(fields[TRUTH].reshape(steps + 1, -1).astype(np.float32))
        if REWARD in fields:
            rows[REWARD] = with_first(torch.from_numpy(fields[REWARD].astype(np.float32)))
        if TERMINATED in fields:
            rows[TERMINATED] = with_first(torch.from_numpy(self._ended(recording, fields[TERMINATED])))
        self._check_like_first(recording, rows)
        self.num_episodes += 1
        return rows

    def _complete(self, recording: Recording, fields: dict[str, Array]) -> Array:
        """Return the observations, with the last next observation if only those before each action were recorded."""
        observed, after = fields[OBSERVATION], fields.pop(NEXT, None)
        if observed.ndim < 1 or observed.dtype == object or observed.dtype.kind not in "biuf":
            raise self._fault(recording, f"{OBSERVATION} is {observed.dtype}", "numbers", "write arrays of numbers")
        if after is not None and len(after) and len(observed) == len(fields.get(ACTION, ())):
            return np.concatenate([observed, after[-1:]])
        return observed

    def _fitted(self, recording: Recording, name: str, values: Array, steps: int, recorded_all: bool) -> Array:
        """Return the values (n, …) of a field; what follows the last observation is left out."""
        if values.dtype.kind not in "biuf":
            raise self._fault(recording, f"{name} is {values.dtype}", "numbers", "write arrays of numbers")
        if name == TERMINATED and values.ndim == 0:
            values = np.append(np.zeros(steps - 1, bool), values.astype(bool))
        if name in (REWARD, TERMINATED) and values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        expected = steps + 1 if name == TRUTH else steps
        if not recorded_all and name != TRUTH and len(values) == steps + 1:
            values = values[:steps]
        if values.ndim < 1 or len(values) != expected or (name in (REWARD, TERMINATED) and values.ndim != 1):
            raise self._fault(recording, f"{name} has the shape {values.shape} with {steps + 1} observations",
                              f"{expected} values, one per {'observation' if name == TRUTH else 'step'}",
                              "write one action, reward and flag per step, and one observation more")
        return values

    def _check_values(self, recording: Recording, name: str, values: Array) -> None:
        if values.dtype.kind != "f":
            return
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
        if bad.any():
            step = int(bad.argmax())
            found = values.reshape(len(values), -1)[step]
            number = found[~np.isfinite(found)][0]
            raise self._fault(recording, f"step {step} of {name} is {number}", "finite numbers",
                              "correct the recording, or leave the episode out")

    def _vectors(self, recording: Recording, actions: Array) -> Array:
        code = self.code
        if code.choices:
            flat = actions.reshape(len(actions), -1)
            bad = (flat != np.rint(flat)) | (flat < code.start) | (flat >= code.start + code.choices)
            if flat.shape[1] != 1 or bad.any():
                step = int(bad.any(1).argmax())
                raise self._fault(recording, f"step {step} of {ACTION} is {flat[step].tolist()}",
                                  f"a whole number from {code.start} to {code.start + code.choices - 1}",
                                  "learning.actions.choices=N, the number of alternatives")
            return code.vectors(actions)
        vectors = code.vectors(actions)
        bad = (np.abs(vectors) > 1 + 1e-5).any(1)
        if bad.any():
            step = int(bad.argmax())
            raise self._fault(recording, f"step {step} of {ACTION} is {actions[step].tolist()}",
                              f"numbers from {_shown(code.low)} to {_shown(code.high)}",
                              "give the bounds, learning.actions={low: -2, high: 2}")
        return np.clip(vectors, -1, 1)

    def _ended(self, recording: Recording, flags: Array) -> Array:
        ended = flags.astype(bool)
        if ended[:-1].any():
            raise self._fault(recording, f"step {int(ended.argmax())} of {TERMINATED} is true, of {len(ended)} steps",
                              "an end at the last step alone", "split the file into episodes there")
        return ended

    def _check_like_first(self, recording: Recording, rows: Mapping[str, Tensor]) -> None:
        """Refuse fields, dtypes and shapes that differ from the first episode's."""
        found = {name: f"{value.dtype} {tuple(value.shape[1:])}".removeprefix("torch.") for name, value in rows.items()}
        if not self._first:
            self._first = found
        if found.keys() != self._first.keys():
            raise self._fault(recording, f"it has the fields {', '.join(found)}", f"{', '.join(self._first)}, as in the "
                              "first episode", "write the same fields for every episode")
        for name, what in found.items():
            if what != self._first[name]:
                raise self._fault(recording, f"{name} is {what}", f"{self._first[name]}, as in the first episode",
                                  "write all episodes with one dtype and shape")

    def _fault(self, recording: Recording, found: str, expected: str, fix: str) -> DataError:
        return DataError(f"'{self.path}', episode {self.num_episodes} ({recording.name}): {found}: expected {expected}. "
                         f"Fix: {fix}")


def check_finite(path: object, episode: int, rows: Mapping[str, Tensor]) -> None:
    """Refuse rows of an episode that are not finite.

    Raises:
        DataError: names the field and the step.
    """
    for name, value in rows.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            step = int((~value.flatten(1).isfinite().all(1) if value.ndim > 1 else ~value.isfinite()).nonzero()[0, 0])
            raise DataError(f"'{path}', episode {episode}: step {step} of {name} is not finite. Fix: correct the world that "
                            "sent it, and collect again")


def _tensor(values: Array) -> Tensor:
    """Return a tensor of a dtype that ports have; float64 becomes float32."""
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if str(values.dtype) not in DTYPES:
        values = values.astype(np.float32 if values.dtype.kind == "f" else values.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(values))


def _shown(bound: Any) -> str:
    return str(np.ravel(bound).tolist() if np.size(bound) > 1 else float(np.ravel(bound)[0]))
