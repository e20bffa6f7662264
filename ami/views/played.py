"""The episode that each row of a wave plays at each tick: its number, when it began, and until when its row counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

EPISODE = "episode"
"""The world's output that numbers the episodes."""


class Played(NamedTuple):
    """For each tick of each world, (rows,):

    Attributes:
        number: of its episode, the last one of a world that stands still; -1 if unknown.
        live: whether the tick counts: an episode's last tick does, later ones do not.
        began: the tick at which its episode began; a fork's first episodes began at tick 0, which it does not hold.
    """

    number: np.ndarray
    live: np.ndarray
    began: np.ndarray


def played(wave: np.ndarray, tick: np.ndarray, row: np.ndarray, sent: np.ndarray | None,
           flags: Sequence[np.ndarray]) -> Played:
    """Find the episodes of a trace.

    Args:
        wave, tick, row: (rows,), in any order.
        sent: the world's output `episode`, NaN where it rests and -1 where it stands still. None for traces of earlier
            versions, whose worlds play one episode per wave: until the first flag.
        flags: those that end an episode, NaN where the world rests.
    """
    order = np.lexsort((tick, row, wave))
    wave, tick, row = wave[order], tick[order], row[order]
    is_first = np.r_[True, (wave[1:] != wave[:-1]) | (row[1:] != row[:-1])][:len(order)]
    over = np.zeros(len(order), bool)
    for flag in flags:
        over |= np.nan_to_num(flag[order]) > 0
    was_over = np.r_[False, over[:-1]][:len(order)] & ~is_first
    if sent is None:
        number = np.full(len(order), -1)
        ended = np.cumsum(was_over)
        live = ended == _held(ended, is_first, is_first)
        begins = is_first
    else:
        values, is_last = sent[order], np.r_[is_first[1:], True][:len(order)]
        held = _held(values, np.isfinite(values), is_first)
        ahead = _held(values[::-1], np.isfinite(values[::-1]), is_last[::-1])[::-1]  # ticks before the first message
        number = np.nan_to_num(np.where(np.isfinite(held), held, ahead), nan=-1.0).astype(np.int64)
        live = number >= 0
        changes = np.r_[True, number[1:] != number[:-1]][:len(order)]
        begins = live & (is_first | changes | was_over)
        number = np.where(live, number, _held(number, live, is_first))
    began = _held(np.where(is_first, 0, tick), begins, is_first)
    found = np.empty(len(order), np.int64), np.empty(len(order), bool), np.empty(len(order), np.int64)
    for whole, sorted_values in zip(found, (number, live, began), strict=True):
        whole[order] = sorted_values
    return Played(*found)


def _held(values: np.ndarray, known: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """Return the last known value of the same world up to each tick; its first value before any."""
    held: np.ndarray = values[np.maximum.accumulate(np.where(known | is_first, np.arange(len(values)), 0))]
    return held
