"""Identity: the observation as float32, whatever its shape and dtype."""

import pytest
import torch

from modules.perception.identity import Identity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_percept_is_the_observation_as_float32(dtype):
    observation = torch.arange(6, dtype=dtype).view(2, 3)
    percept = Identity().step(observation=observation)["percept"]
    assert percept.dtype == torch.float32
    assert percept.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_percept_has_the_observations_size():
    assert Identity().infer_dims({"O": (3,)}) == {"P": (3,)}
    assert Identity().infer_dims({}) == {}
