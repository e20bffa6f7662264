"""Observation spaces: the observations of a gymnasium environment as the ports of a world.

    Box                              the port `observation`, unchanged; a picture with its channels last
    Discrete, MultiBinary,           the port `observation`, flattened to a vector
    MultiDiscrete, Tuple
    Dict                             a port per key, named after it, each as above; a text is (n,) uint8, see `text_bytes`

One key of a Dict is also the port `observation`: the key that `world.observation` names; else the key "observation"; else
the only numeric key; else the only picture; else, if there is no picture, all numeric keys, flattened to one vector. Several
pictures without a name are refused. The key "goal", else "desired_goal", is also the port `goal`, unless it is part of that
vector. "action_mask" becomes the port `action_mask` if actions have choices. A key that is neither numeric nor text, such as
a Graph, is left out with a remark. Two ports of one key send the same arrays, read and stacked once; the key's own port is
sent only if a wire reads it.

A picture is uint8, or floating in [0, 1] or [0, 255], of shape (H, W) or (H, W, C) with H and W at least 16 and C less than
16. A space (C, H, W) with such sizes is a picture with its channels first and is transposed. Stacked pictures, (N, H, W, C)
or (N, C, H, W), N less than 16, become one picture of N · C channels. Any other Box is sent unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Dict, MultiBinary, Space, Text
from gymnasium.spaces.utils import flatten, flatten_space
from gymnasium.wrappers import TransformObservation

from ami.envs.actions import ActionCodec
from ami.envs.guard import Breach
from ami.errors import SettingError, suggestion

SMALLEST_SIDE = 16
"""The smallest side of a picture; a picture has fewer channels."""
LONGEST_TEXT = 256
"""The number of bytes of a text whose space declares no length, such as MiniGrid's mission."""
GOALS, MASK, OBSERVATION = ("goal", "desired_goal"), "action_mask", "observation"
TAKEN = ("observation", "goal", "reward", "terminated", "truncated", "success", "truth", "episode", MASK)
"""The names of a world's own ports: another key of such a name becomes the port `observed_NAME`."""


class PortSpace(NamedTuple):
    """One port of a world.

    Attributes:
        space: the space of its messages: a Box, or a MultiBinary for a mask.
        read: a function from an observation of the environment to the port's array.
        how: a description of the conversion; empty if there is none.
        dtype: the dtype of its messages.
        is_text: whether they are the bytes of texts, see `text_bytes`.
    """

    space: Space
    read: Callable[[Any], Any]
    how: str = ""
    dtype: str = "float32"
    is_text: bool = False


@dataclass
class Reading:
    """The conversion of an environment's observations to the ports of a world.

    Attributes:
        ports: the ports by name, `observation` first.
        remarks: notes for the user: which key is which port, and which keys were transposed, flattened or left out.
        same: for the port of a key, the port `observation` or `goal` with the same messages.
        parts: the ports of keys that are part of the vector `observation`.
    """

    ports: dict[str, PortSpace] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)

    @property
    def spaces(self) -> dict[str, Space]:
        """The spaces of the ports that are read from the environment; the others are in `same`."""
        return {name: port.space for name, port in self.ports.items() if name not in self.same}

    @property
    def duplicated_by(self) -> dict[str, str]:
        """For the port of a key, the port `observation` or `goal` that includes its messages."""
        return {**self.same, **dict.fromkeys(self.parts, OBSERVATION)}

    def is_plain(self, space: Space) -> bool:
        """Return whether no conversion is needed: the space is already a Box, or a Dict of Boxes by port."""
        if not isinstance(space, Dict):
            return self.spaces == {OBSERVATION: space}
        return self.spaces == dict(space.spaces)

    def described(self) -> Reading:
        """Return a copy for another process, without the functions that read."""
        return Reading({name: port._replace(read=_read_elsewhere) for name, port in self.ports.items()}, self.remarks,
                       self.same, self.parts)

    def __call__(self, observation: Any) -> dict[str, Any]:
        """Convert an environment's observation to an array per port, those in `same` left out."""
        return {name: port.read(observation) for name, port in self.ports.items() if name not in self.same}


def _read_elsewhere(observation: Any) -> Any:
    raise RuntimeError("observations are read in the process of their environments")


def fit_observation(env: Any, reading: Reading) -> Any:
    """Wrap the environment so that its observations are arrays by port."""
    if reading.is_plain(env.observation_space):
        return env
    return TransformObservation(env, reading, Dict(reading.spaces))


def reading_of(space: Space, env_id: str, codec: ActionCodec, chosen: str | None = None) -> Reading:
    """Return the conversion of a space's observations to ports.

    Args:
        space: the environment's observation space.
        env_id: the environment's name in errors.
        codec: the codec of its actions, for masks.
        chosen: the key that is the port `observation`; None applies the rule of this module.

    Raises:
        SettingError: the space has no numbers, no such key, or several pictures and none is chosen.
    """
    if not isinstance(space, Dict):
        if chosen is not None:
            raise SettingError(f"world.observation is '{chosen}', but {env_id} has the observation space {space}, which has "
                               "no keys. Fix: leave it out")
        port = None if _is_text(space) else _port(space)
        if port is None:
            raise _refused(env_id, space)
        return Reading({OBSERVATION: port}, [f"observation is {space}, {port.how}"] if port.how else [])
    reading = Reading()
    keys: dict[str, PortSpace] = {}
    for key, part in space.spaces.items():
        found = _mask(codec) if key == MASK and codec.actions.choices else _port(part)
        if found is None:
            reading.remarks.append(f"the key '{key}', {part}, is left out: it is neither numeric nor text")
        else:
            keys[key] = found._replace(read=_of_key(key, found.read))
    owners = _choose(reading, space, keys, env_id, chosen)
    for key, own_port in keys.items():
        name = port_name(key)
        if owners.get(name) == [key]:
            continue
        if name in reading.ports or (name in TAKEN and not (key == MASK and codec.actions.choices)):
            name = f"observed_{name}"
        if name in reading.ports:
            raise SettingError(f"two keys of {env_id} make the port '{name}', one of them '{key}'. Fix: a wrapper that "
                               "renames one, world.wrappers=[package.file.Class]")
        reading.ports[name] = own_port
        for whole, own in owners.items():
            if own == [key]:
                reading.same[name] = whole
            elif key in own:
                reading.parts.append(name)
        if own_port.how or name != key:
            reading.remarks.append(f"the key '{key}' is the port {name}{', ' if own_port.how else ''}{own_port.how}")
    return reading


def port_name(key: str) -> str:
    """Convert a key to a port name for wirings: letters, digits and underscores."""
    name = re.sub(r"\W", "_", str(key), flags=re.ASCII)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def text_bytes(text: str, length: int) -> np.ndarray:
    """Convert a text to the bytes of its UTF-8 code, (length,) uint8, padded with 0.

    Raises:
        Breach: it has more bytes.
    """
    code = np.frombuffer(text.encode(), np.uint8)
    if len(code) > length:
        raise Breach(f"a text of {len(code)} bytes was sent: expected {length} at most. Fix: declare Text(max_length)")
    return np.pad(code, (0, length - len(code)))


def _choose(reading: Reading, space: Dict, keys: Mapping[str, PortSpace], env_id: str,
            chosen: str | None) -> dict[str, list[str]]:
    """Add the ports `observation` and `goal` to the reading; return the keys that each includes."""
    numbers = [key for key in keys if key != MASK and _has_numbers(space[key])]
    pictures = [key for key in numbers if picture(space[key])]
    if chosen is not None and chosen not in keys:
        raise SettingError(f"world.observation is '{chosen}', which is not a key of {env_id} that can be sent"
                           f"{suggestion(chosen, keys)}")
    if not numbers and chosen is None:
        raise _refused(env_id, space)
    if chosen is None:
        chosen = (OBSERVATION if OBSERVATION in keys else numbers[0] if len(numbers) == 1 else
                  pictures[0] if len(pictures) == 1 else None)
    if chosen is None and pictures:
        raise SettingError(f"{env_id} shows several pictures, {', '.join(pictures)}. Fix: world.observation={pictures[0]}, "
                           "or another key: it becomes the port observation")
    if chosen is None:
        together = Dict({key: space[key] for key in numbers})
        flat = flatten_space(together)
        reading.ports[OBSERVATION] = PortSpace(flat, lambda seen: flatten(together, {key: seen[key] for key in numbers}),
                                               dtype=_dtype(flat))
        reading.remarks.append(f"observation is {', '.join(numbers)}, flattened to one vector; world.observation=KEY "
                               "chooses one of them")
        return {OBSERVATION: numbers}
    reading.ports[OBSERVATION] = keys[chosen]
    if chosen != OBSERVATION:
        reading.remarks.append(f"observation is the key '{chosen}'")
    goal = next((name for name in GOALS if name in keys and name != chosen), None)
    if goal is None:
        return {OBSERVATION: [chosen]}
    reading.ports[GOALS[0]] = keys[goal]
    return {OBSERVATION: [chosen], GOALS[0]: [goal]}


def _port(space: Space) -> PortSpace | None:
    """Return the port of a space; None if it is neither numeric nor text."""
    if _is_text(space):
        widest = max((len(letter.encode()) for letter in getattr(space, "characters", "")), default=1)
        length = int(getattr(space, "max_length", 0)) * widest or LONGEST_TEXT
        return PortSpace(Box(0, 255, (length,), np.uint8), lambda text: text_bytes(text, length),
                         f"a text, {length} bytes of UTF-8, padded with 0", "uint8", is_text=True)
    if not _has_numbers(space):
        return None
    if not isinstance(space, Box):
        flat = flatten_space(space)
        return PortSpace(flat, lambda seen: flatten(space, seen), dtype=_dtype(flat))
    form = picture(space)
    if form and form.order is not None:
        box = Box(form.moved(space.low), form.moved(space.high), dtype=space.dtype.type)
        return PortSpace(box, form.moved, f"a picture {form.words}, sent as {box.shape}", _dtype(box))
    if space.shape == ():
        one = Box(space.low.reshape(1), space.high.reshape(1), (1,), space.dtype.type)
        return PortSpace(one, lambda seen: np.reshape(seen, 1), "one number, sent as (1,)", _dtype(one))
    return PortSpace(space, lambda seen: seen, dtype=_dtype(space))


class Picture(NamedTuple):
    """The layout of a picture.

    Attributes:
        order: the permutation of the axes that moves the stack and channel axes to the end, the channels last; None keeps
            the order.
        words: a description.
    """

    order: tuple[int, ...] | None
    words: str

    def moved(self, seen: Any) -> np.ndarray:
        """Return the picture with its channels last."""
        moved = np.transpose(seen, self.order)
        return np.ascontiguousarray(moved.reshape(*moved.shape[:2], -1))


def picture(space: Space) -> Picture | None:
    """Return the picture layout of a space; None if it is not a picture."""
    if not isinstance(space, Box):
        return None
    bytes_, real = space.dtype == np.uint8, np.issubdtype(space.dtype, np.floating)
    if not (bytes_ or real) or not bool((space.low == 0).all() and np.isin(space.high, (1, 255)).all()):
        return None
    shape = space.shape
    small = [size < SMALLEST_SIDE for size in shape]
    forms: dict[tuple[bool, ...], tuple[tuple[int, ...] | None, str]] = {
        (False, False): (None, "without channels"), (False, False, True): (None, "with its channels last"),
        (True, False, False): ((1, 2, 0), "with its channels first"),
        (True, False, False, True): ((1, 2, 0, 3), f"of {shape[0] if shape else 0} in a stack"),
        (True, True, False, False): ((2, 3, 0, 1), f"of {shape[0] if shape else 0} in a stack with their channels first"),
    }
    found = forms.get(tuple(small))
    return None if found is None else Picture(*found)


def _dtype(space: Space) -> str:
    return "uint8" if space.dtype == np.uint8 else "float32"


def _mask(codec: ActionCodec) -> PortSpace:
    return PortSpace(MultiBinary(codec.actions.width), codec.flags,
                     f"the allowed alternatives of an action, {codec.actions}", "bool")


def _of_key(key: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda seen: read(seen[key])


def _is_text(space: Space) -> bool:
    """Return whether a space holds text: gymnasium's Text, or another space of strings, such as MiniGrid's missions."""
    if isinstance(space, Text):
        return True
    return type(space).__module__.split(".")[0] != "gymnasium" and isinstance(space.sample(), str)


def _has_numbers(space: Space) -> bool:
    """Return whether a space flattens to a meaningful vector; a flattened text is not meaningful."""
    inner = space.spaces.values() if isinstance(space, Dict) else getattr(space, "spaces", ())
    try:
        return space.is_np_flattenable and not isinstance(space, Text) and all(map(_has_numbers, inner))
    except NotImplementedError:  # spaces of other packages need not define it
        return False


def _refused(env_id: str, space: Space) -> SettingError:
    return SettingError(f"{env_id} has the observation space {space}, which is not numeric: expected a Box, a "
                        "Discrete or a Dict of them. Fix: a wrapper of your own, world.wrappers=[package.file.Class]")
