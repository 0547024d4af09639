import torch

from foldtune.training import seeds

CPU = torch.device("cpu")


def test_mixing_is_pinned():
    # These numbers are what a seed means: a change here breaks every resumed and repeated run.
    assert seeds.mix(0, 1, seeds.ORDER) == 2918264622725855778
    assert seeds.mix(42, 3, seeds.MODEL, 1) == 7677289406936146831


def test_seed_epoch_stream_and_rank_all_count():
    mixed = {
        seeds.mix(seed, epoch, stream, rank)
        for seed in range(4)
        for epoch in range(4)
        for stream in range(3)
        for rank in range(3)
    }
    assert len(mixed) == 144
    assert all(0 <= value < 2**63 for value in mixed)


def test_model_randomness_is_the_epochs_and_leaves_the_callers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with seeds.seeded_model(0, 1, CPU):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeds.seeded_model(0, 1, CPU):
        assert torch.equal(torch.rand(3), first)
    with seeds.seeded_model(0, 2, CPU):
        assert not torch.equal(torch.rand(3), first)
