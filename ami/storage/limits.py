"""Limits: check the memory and the time that a setting needs before work begins.

Otherwise a typo (`evaluation.pairs=100000000000`) would start endless work or end the process.
"""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from ami.errors import SettingError

CGROUP = Path("/sys/fs/cgroup/memory.max")
DAY, YEAR = 86_400.0, 365 * 86_400.0
_NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "can't allocate memory")
_UNITS = (("years", YEAR), ("days", DAY), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def check_memory(setting: str, value: object, needed: float, fix: str) -> None:
    """Refuse a setting whose data cannot fit into memory.

    Args:
        setting: its full name, "learning.collect.episodes".
        value: the given value.
        needed: bytes, a lower bound.
        fix: the fix, without "Fix:".

    Raises:
        SettingError: more is needed than this process may have.
    """
    there = memory()
    if needed > there:
        raise SettingError(f"{setting} is {value}: its data need {in_bytes(needed)} of memory or more, and "
                           f"{in_bytes(there)} are available. Fix: {fix}")


def check_space(setting: str, value: object, needed: float, folder: str | Path, fix: str) -> None:
    """Refuse a setting whose data fit neither into memory nor onto the disk of a folder.

    Args:
        setting: its full name.
        value: the given value.
        needed: bytes, a lower bound.
        folder: the folder, which need not exist yet.
        fix: the fix, without "Fix:".

    Raises:
        SettingError: more is needed.
    """
    whole = Path(folder).absolute()
    there = max(memory(), float(shutil.disk_usage(next(path for path in (whole, *whole.parents) if path.exists())).free))
    if needed > there:
        raise SettingError(f"{setting} is {value}: its data need {in_bytes(needed)} or more, and {in_bytes(there)} of "
                           f"memory or disk are available. Fix: {fix}")


def check_time(setting: str, value: object, seconds: float, fix: str) -> str | None:
    """Refuse a setting that needs more than a year of work, and warn of more than a day.

    Args:
        setting: its full name.
        value: the given value.
        seconds: an estimate of the work's duration.
        fix: the fix, without "Fix:".

    Returns:
        The warning, a sentence; None for up to a day.

    Raises:
        SettingError: the work takes more than a year.
    """
    if seconds > YEAR:
        raise SettingError(f"{setting} is {value}: that takes about {in_time(seconds)} on this machine. Fix: {fix}")
    return f"{setting} is {value}: that takes about {in_time(seconds)} on this machine" if seconds > DAY else None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out; torch's allocator raises a plain RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(
        words in str(error) for words in _NO_MEMORY))


def memory() -> float:
    """Return the bytes of memory this process may have: the least of the limits of machine, control group and process."""
    least = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        least = min(least, float(soft))
    try:
        own = CGROUP.read_text().strip()
    except OSError:  # no control group, or none of version 2
        return least
    return min(least, float(own)) if own.isdigit() else least


def in_bytes(count: float) -> str:
    """Format a number of bytes, "3.2 GB"."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} EB"


def in_time(seconds: float) -> str:
    """Format a duration in its largest unit, "3.2 days"."""
    unit, length = next(((unit, length) for unit, length in _UNITS if seconds >= 2 * length), _UNITS[-1])
    count = seconds / length
    return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.2g} {unit}"
