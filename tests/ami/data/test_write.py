"""Write: what is written in any format is read back as it was, pictures included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ami.data.read import Data
from ami.data.replay_buffer import ReplayBuffer, with_first, with_last
from ami.data.summary import Summary
from ami.data.write import WRITERS, write
from ami.errors import DataError


def episodes(is_picture: bool) -> ReplayBuffer:
    buffer, stream = ReplayBuffer(), torch.Generator().manual_seed(0)
    for steps in (3, 1, 6):
        seen = torch.randint(0, 256, (steps + 1, 16, 16, 3), generator=stream, dtype=torch.uint8)
        ended = torch.zeros(steps, dtype=torch.bool)
        ended[-1] = steps > 1
        buffer.append({"observation": seen if is_picture else seen[:, 0, :4, 0].float() / 3,
                       "action": with_last(torch.rand(steps, 2, generator=stream) * 2 - 1),
                       "reward": with_first(torch.rand(steps, generator=stream)), "terminated": with_first(ended)})
    return buffer


@pytest.mark.parametrize("is_picture", [True, False])
@pytest.mark.parametrize("form", WRITERS)
def test_written_episodes_are_read_back(form: str, is_picture: bool, tmp_path: Path) -> None:
    buffer = episodes(is_picture)
    path = write(buffer, tmp_path / "made" / {"npz": "a.npz", "hdf5": "a.hdf5", "minari": "a-v0"}[form], form)
    found = Data.at(path).load(1e9, tmp_path / "rows").tensors()
    assert found.keys() == buffer.tensors().keys()
    for name, value in buffer.tensors().items():
        assert torch.equal(found[name], value), name
    assert [one.name for one in tmp_path.iterdir()] == ["made"]


def test_a_minari_set_has_a_version(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'rooms' is no name of a Minari data set: expected NAME-v0. Fix: rooms-v0"):
        write(episodes(False), tmp_path / "rooms", "minari")


def test_a_summary_has_ranges_returns_and_ends() -> None:
    buffer = episodes(True)
    summary = Summary.of(buffer.episode(number) for number in range(3))
    assert summary.steps == [3, 1, 6] and summary.terminated == 2 and summary.num_bytes == buffer.num_bytes
    assert sum(summary.returns) / 3 == pytest.approx(buffer.mean_return)
    seen = summary.fields["observation"]
    assert (seen.dtype, seen.shape) == ("uint8", (16, 16, 3)) and 0 <= seen.low < seen.high <= 255
