"""Samplers of masks: every cell is reached, contexts hold no wanted token, small grids end or are refused."""

import pytest
import torch

from ami.errors import SettingError
from modules.perception._positions import Grid
from modules.perception.masks import BlockMasks, MultiBlockMasks, RandomMasks

SAMPLERS = [RandomMasks(), BlockMasks(), MultiBlockMasks()]
GRIDS = [Grid(1, 8, 8), Grid(1, 4, 4), Grid(1, 3, 5), Grid(2, 6, 6)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: type(one).__name__)
def test_every_cell_is_kept_and_wanted_within_a_thousand_draws(sampler, grid):
    kept, wanted = torch.zeros(grid.size), torch.zeros(grid.size)
    for _ in range(10):
        for masks in sampler.sample(grid, 100):
            kept.index_add_(0, masks.keep.flatten(), torch.ones(masks.keep.numel()))
            wanted.index_add_(0, masks.want.flatten(), torch.ones(masks.want.numel()))
    assert kept.min() > 0 and wanted.min() > 0


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: type(one).__name__)
def test_no_context_holds_a_wanted_token(sampler, grid):
    for keep, want in sampler.sample(grid, 50):
        is_kept = torch.zeros(50, grid.size, dtype=torch.bool).scatter_(1, keep, True)
        assert is_kept.sum(1).eq(keep.shape[1]).all()  # each once
        assert not is_kept.gather(1, want.flatten(1)).any()


def test_random_masks_want_three_quarters():
    (masks,) = RandomMasks().sample(Grid(1, 7, 7), 3)
    assert masks.keep.shape == (3, 12) and masks.want.shape == (3, 1, 37)


def test_block_masks_are_blocks_of_the_published_scale():
    for _ in range(50):
        ((keep, want),) = BlockMasks().sample(Grid(1, 14, 14), 4)
        assert want.shape[:2] == (4, 4)
        rows, columns = want // 14, want % 14
        height = rows.amax(2) - rows.amin(2) + 1
        width = columns.amax(2) - columns.amin(2) + 1
        assert (height * width == want.shape[2]).all()
        assert 0.12 <= want.shape[2] / 196 <= 0.24 and 0.6 <= height[0, 0] / width[0, 0] <= 1.8
        assert keep.shape[1] >= 9  # 5 % of 196


def test_multi_blocks_have_two_families_that_span_all_times():
    grid = Grid(4, 8, 8)
    families = MultiBlockMasks().sample(grid, 5)
    assert len(families) == 2
    for keep, want in families:
        for tokens in (keep, want[:, 0]):
            by_time = tokens.view(5, 4, -1) - 64 * torch.arange(4)[:, None]
            assert (by_time == by_time[:, :1]).all()


def test_of_long_contexts_any_token_may_be_left_out():
    """Leaving out the last ones would train the end of an image less."""
    grid, shares = Grid(1, 8, 8), torch.zeros(64)
    for _ in range(40):
        ((keep, _),) = BlockMasks().sample(grid, 64)
        shares.index_add_(0, keep.flatten(), torch.ones(keep.numel()))
    corners = shares[[0, 7, 56, 63]]
    assert corners.max() / corners.min() < 1.25


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: type(one).__name__)
def test_a_grid_of_one_token_is_refused(sampler):
    with pytest.raises(SettingError, match=r"finds no context on a grid of 1 x 1 patches: .* a smaller perception.patch"):
        sampler.sample(Grid(4, 1, 1), 2)


def test_blocks_that_cover_everything_are_refused_after_bounded_tries():
    with pytest.raises(SettingError, match="MultiBlockMasks finds no context on a grid of 2 x 2 patches"):
        MultiBlockMasks(num_blocks=[500], scale=[0.5]).sample(Grid(1, 2, 2), 40)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: RandomMasks(1.0), "RandomMasks.share is 1.0: expected more than 0 and less than 1"),
    (lambda: BlockMasks(scale=[0.2, 0.1]), "BlockMasks.scale is [0.2, 0.1]: expected [smallest, largest], more than 0 and "
                                           "at most 1"),
    (lambda: BlockMasks(num_blocks=0), "BlockMasks.num_blocks is 0: expected 1 or more"),
    (lambda: MultiBlockMasks(num_blocks=[8]), "MultiBlockMasks.num_blocks is [8] and scale [0.15, 0.7]: expected one number "
                                              "of blocks, 1 or more, for each share"),
])
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value) == words
