"""Errors of a module's own code, reported with the node, the method, the tick, the inputs and the line of that code.

A module is user code: it may raise anything, or call `sys.exit`. The engine reports it as one `ModuleError`. Its `__cause__`
is the original error, with the whole traceback; under Ray the traceback is sent as text.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from ami.errors import AmiError, ModuleError

TRACEBACK = "AMI_TRACEBACK"
"""The environment variable that makes `ami` print the whole traceback of an error."""
FIX = f"Fix: correct it there; {TRACEBACK}=1 prints the whole traceback"

_STANDARD_LIBRARY = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen ")
_PACKAGES = ("site-packages", "dist-packages")
_ENGINE = str(Path(__file__).parents[1] / "_").removesuffix("_")  # with its slash: a folder `ami_worlds` is user code


@contextmanager
def blamed(node: str, doing: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Report an error that a module raises inside this block.

    Args:
        node: the module's node.
        doing: the method that is called, and when: "build()", "begin() at wave 2".
        passing: errors that the caller handles.

    Raises:
        ModuleError: for any error that is not an AmiError.
    """
    try:
        yield
    except AmiError:
        raise
    except passing:
        raise
    except (Exception, SystemExit) as error:
        raise ModuleError(f"{node}: {doing} failed: {raised(error)}. {FIX}") from error


def raised(error: BaseException) -> str:
    """Return an error as text, with the line of the user's code: `ValueError: no way (mypkg.py, line 12, in step)`."""
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        what = f"it called sys.exit({text})"
    else:
        what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return what + place_of(error)


def place_of(error: BaseException) -> str:
    """Return the innermost line of user code in an error's traceback, ` (mypkg.py, line 12, in step)`; else of any code."""
    frames = list(walk_tb(error.__traceback__))[1:]  # the first is where the engine caught it
    own = [(frame, line) for frame, line in frames if _is_own(frame)]
    return next((f" ({frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name})"
                 for frame, line in reversed(own or frames)), "")


def callee_of(error: BaseException, node: str, modules: Mapping[str, object]) -> str:
    """Return the innermost running method of another node, "world_model.imagine"; empty if there is none."""
    names = {id(module): name for name, module in modules.items()}
    called = [(names[id(module)], frame.f_code.co_name) for frame, _ in walk_tb(error.__traceback__)
              if id(module := frame.f_locals.get("self")) in names]
    return next((f"{name}.{method}" for name, method in reversed(called) if name != node), "")


def describe(messages: object) -> str:
    """Return messages as text: `energy float32 (2,), plan float32 (2, 8, 2)`."""
    from torch import Tensor  # here: the command line imports this file, and `ami --help` needs no torch

    if not isinstance(messages, Mapping):
        return f"a {type(messages).__name__}"
    return ", ".join(f"{name} {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" if isinstance(value, Tensor)
                     else f"{name}, a {type(value).__name__}" for name, value in messages.items()) or "nothing"


def _is_own(frame: FrameType) -> bool:
    """Return whether the code is the module author's: neither a library's nor the engine's."""
    file = frame.f_code.co_filename
    return not (file.startswith((*_STANDARD_LIBRARY, _ENGINE)) or any(name in file for name in _PACKAGES))
