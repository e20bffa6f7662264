"""Names: which array of a file is which field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ami.data.recording import NEXT, TRUNCATED
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, TRUTH
from ami.errors import DataError, suggestion

ALIASES = {
    OBSERVATION: ("observation", "observations", "obs", "image", "images", "pixels", "frames", "state", "states"),
    ACTION: ("action", "actions", "act", "acts"),
    REWARD: ("reward", "rewards", "next.reward"),
    TERMINATED: ("terminated", "terminations", "terminals", "terminal", "next.terminated", "next.done", "done", "dones"),
    TRUNCATED: ("truncated", "truncations", "timeouts", "timeout", "next.truncated"),
    TRUTH: ("truth", "true_state"),
    NEXT: ("next_observation", "next_observations", "next_obs"),
}
"""The names that each field may have in a file, the first found counts."""


def fields_of(path: Path, names: Iterable[str], chosen: Mapping[str, str], needed: Iterable[str] = (OBSERVATION,)
              ) -> dict[str, str]:
    """Return the name in the file of each field that it has.

    Args:
        path: the file, for messages.
        names: the names of its arrays.
        chosen: names given by the user, by field.
        needed: fields that it must have.

    Raises:
        DataError: a needed field is missing, or there is no such field or name.
    """
    there = list(names)
    found = {field: next((alias for alias in aliases if alias in there), None) for field, aliases in ALIASES.items()}
    for field, name in chosen.items():
        if field not in ALIASES:
            raise DataError(f"learning.fields names the field '{field}'{suggestion(field, ALIASES)}")
        if name not in there:
            raise DataError(f"'{path}' has no '{name}' for the field {field}{suggestion(name, there)}")
        found[field] = name
    for field in needed:
        if found[field] is None:
            raise DataError(f"'{path}' holds {', '.join(there) or 'nothing'}: expected the field {field}, named "
                            f"{', '.join(ALIASES[field])}. Fix: learning.fields={{{field}: NAME}}")
    return {field: name for field, name in found.items() if name is not None}
