"""Windows, frames, clips and percepts: shapes, and what a frozen perception saves."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from ami.blueprint import Perception
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError, UnknownName
from ami.learning.sources.frames import Clips, Frames
from ami.learning.sources.percepts import Percepts
from ami.learning.sources.source import Supply
from ami.learning.sources.windows import Windows
from ami.module import Module


class Eye(Perception):
    """Halves bytes; counts the observations it encodes."""

    encoded = 0

    def encode(self, observation: Tensor) -> Tensor:
        self.encoded += len(observation.flatten(0, -2))
        return observation.float() / 2


def supply(*eyes: str, trained: tuple[str, ...] = ()) -> Supply:
    numbers = torch.arange(4 * 7, dtype=torch.uint8).view(4, 7, 1)
    experience = ReplayBuffer.of_padded(numbers, torch.zeros(4, 6, 2), torch.tensor([6, 2, 5, 0]),
                                        reward=torch.ones(4, 6), terminated=torch.zeros(4, 6, dtype=torch.bool))
    return Supply("model", 16, 10, experience, cast("dict[str, Module]", {name: Eye() for name in eyes}), trained)


def test_batches_have_the_documented_tensors() -> None:
    given = supply("perception")
    sizes = {type(source).__name__: {name: tuple(value.shape) for name, value in source.open(given)(0).items()}
             for source in (Windows(length=2), Frames(), Clips(length=3), Percepts(length=2))}
    outcome = {"reward": (16, 2), "cont": (16, 2)}
    assert sizes == {"Windows": {"observation": (16, 3, 1), "action": (16, 2, 2), **outcome},
                     "Frames": {"observation": (16, 1)}, "Clips": {"observation": (16, 4, 1)},
                     "Percepts": {"percept": (16, 3, 1), "action": (16, 2, 2), **outcome}}


def test_percepts_are_those_of_the_windows_and_encoded_once() -> None:
    given = supply("perception")
    eye = cast(Eye, given.modules["perception"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        seen = Windows(length=2).open(given)(0)["observation"]
        torch.manual_seed(0)
        draw = Percepts(length=2).open(given)
        percepts = draw(0)["percept"]
        draw(1)
    assert torch.equal(percepts, seen.float() / 2)
    assert eye.encoded == given.experience.num_frames


@pytest.mark.parametrize(("given", "chosen", "error", "words"), [
    (supply("eye", trained=("eye",)), None, SettingError,
     "the source of learning.stages.model encodes the experience by eye once, but eye is trained at the same time: expected "
     "a frozen perception. Fix: source=windows, or leave eye out of `train`"),
    (supply("left", "right"), None, SettingError,
     "learning.stages.model.source needs one perception, but 2 of them learn here: left, right. "
     "Fix: learning.stages.model.source.perception=left"),
    (supply(), None, SettingError,
     "learning.stages.model.source needs a perception, but none learns here. Fix: name it in the `train` of an earlier "
     "stage, or drop the stage, ~learning.stages.model"),
    (supply("left", "right"), "lefd", UnknownName, "did you mean 'left'?"),
])
def test_a_perception_that_cannot_be_used_is_refused(
        given: Supply, chosen: str | None, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refusal:
        Percepts(length=2, perception=chosen).open(given)
    assert words in str(refusal.value)


def test_a_node_is_chosen_among_several() -> None:
    given = supply("left", "right")
    Percepts(length=2, perception="right").open(given)
    assert [cast(Eye, given.modules[name]).encoded for name in ("left", "right")] == [0, given.experience.num_frames]


def test_a_stride_leaves_out_the_windows_between() -> None:
    given = supply("perception")
    for stride, steps in ((1, {0, 1, 2, 3, 4}), (2, {0, 2, 4})):
        draw = Windows(length=2, stride=stride).open(given)
        first = torch.cat([draw(step)["observation"][:, 0, 0] for step in range(20)])
        assert {int(number) % 7 for number in first} == steps


@pytest.mark.parametrize("source", [Windows(length=5), Clips(length=9)])
def test_a_trial_with_short_episodes_uses_shorter_windows(source: Windows) -> None:
    assert source.shrunk(3, 4).length == 3 and source.length > 3


@pytest.mark.parametrize("source", [Windows, Percepts])
def test_shuffled_actions_are_those_of_the_batch_in_another_order(source: type[Windows]) -> None:
    given = supply("perception")
    steps = torch.arange(4 * 7.0).view(4, 7, 1).expand(-1, -1, 2)[:, :6]
    experience = ReplayBuffer.of_padded(steps[..., :1].new_zeros(4, 7, 1).to(torch.uint8), steps, torch.tensor([6, 6, 6, 6]))
    given = Supply("model", 16, 10, experience, given.modules)
    with torch.random.fork_rng():
        batches = []
        for shuffle in (False, True):
            torch.manual_seed(0)
            batches.append(source(length=3, shuffle_actions=shuffle).open(given)(0)["action"])
    plain, shuffled = batches
    assert not torch.equal(plain, shuffled)
    assert torch.equal(plain.flatten().sort().values, shuffled.flatten().sort().values)
    assert bool((shuffled[..., 0] == shuffled[..., 1]).all())  # whole actions
