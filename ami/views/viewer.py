"""Viewer: a run's trace as one HTML file that needs no network.

The page is `page/viewer.html`, with its style, its script and the charts of uPlot 1.6.32 (Leon Sorokin, MIT licence)
inlined. The trace is embedded as JSON, in one element per wave and per episode, each parsed when first shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ami.errors import SettingError, require
from ami.storage.files import write_atomically
from ami.trace.reader import Trace
from ami.views.viewer_data import pages

NAME = "view.html"


def view(folder: Path, out: Path | None = None, wave: int | None = None, deadline: float | None = None,
         render: bool = False, reference: Path | None = None, allow: Sequence[str] = ()) -> Path:
    """Write the page of a run.

    Args:
        folder: the run's folder.
        out: the file; by default `view.html` in the run's folder.
        wave: only this batch of episodes; None takes all.
        deadline: time limit of a tick in milliseconds; None takes twice the median of its episode.
        render: create the world of the run's header, and render it while the recorded actions are repeated.
        reference: the folder of another agent's trace of the same episodes, as `ami replay` writes it.
        allow: prefixes of your own packages that the rendered world may import; see `ami.config.trust`.

    Returns:
        The file.

    Raises:
        TraceError: the folder holds no run or trace, no such wave, or not what `render` needs.
        TrustError: `render` would import a package that is not on the allow-list.
        SettingError: the deadline is invalid, the file cannot be written, or the world cannot be created or rendered.
    """
    require(deadline is None or 0 < deadline < math.inf,
            f"--deadline is {deadline}: expected milliseconds above 0, --deadline 20")
    out = Path(out) if out is not None else Path(folder) / NAME
    overlaid = None if reference is None else Trace.open(Path(reference))
    found = pages(Trace.open(Path(folder)), wave, deadline, render, overlaid, allow)
    parts = [_script("run", found.run), *(_script(name, part) for name, part in found.parts.items())]
    html = _asset("viewer.html")
    for place, content in {
        "style": f"{_asset('uplot.min.css')}\n{_asset('viewer.css')}",
        "charts": f"/*\nuPlot 1.6.32\n{_asset('uplot.LICENSE')}*/\n{_asset('uplot.min.js')}",
        "script": _asset("viewer.js"),
        "map": _asset("map.js"),
        "data": "\n".join(parts),
    }.items():
        html = html.replace(f"<!-- {place} -->", content, 1).replace(f"/* {place} */", content, 1)
    try:
        write_atomically(out, html)
    except OSError as error:
        raise SettingError(f"--out is '{out}': expected a file that can be written ({error.strerror})") from None
    return out


def _asset(name: str) -> str:
    return (files("ami.views") / "page" / name).read_text(encoding="utf-8")


def _script(name: str, content: object) -> str:
    """Return a JSON script element that no text in it can close."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'
