"""modules.memory.none: zero recall."""

import torch

from ami.testing import check_memory
from ami.testing.subject import Subject
from modules.memory.none import NoMemory


def test_contract():
    check_memory(NoMemory)


def test_recall_is_zero():
    subject = Subject(NoMemory)
    for outputs in subject.run(subject.fresh([0, 1]), subject.sample_inputs(2, 3)):
        assert torch.equal(outputs["recall"], torch.zeros(2, 6))
        assert torch.equal(outputs["score"], torch.zeros(2))
        assert outputs["nearest"].shape == (2, 1, 6)
