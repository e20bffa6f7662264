"""Practice: Mode-2 at every tick, the actor in Mode-1 for a share of the ticks."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_configurator
from ami.testing.subject import Subject
from modules.configurator.practice import Practice


def test_contract():
    check_configurator(Practice)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_actor_reacts_in_a_share_of_the_ticks(share):
    subject = Subject(lambda: Practice(share))
    record = subject.run(subject.fresh(range(20)), subject.sample_inputs(20, 50))
    acting = torch.stack([outputs["acting"] for outputs in record])
    assert all(bool((outputs["mode"] == 2).all()) for outputs in record)
    assert float((acting == 1).float().mean()) == pytest.approx(share, abs=0.05)


def test_a_share_out_of_range_is_refused():
    with pytest.raises(SettingError) as error:
        Practice(1.5)
    assert str(error.value) == "Practice.share is 1.5: expected 0 to 1"
