"""Epochs of a data set: shuffled, whole, and gone on with where they stopped."""

import torch

from gan3d_bench.datamodules.epochs import shuffled_batches


def test_batches_go_on_where_they_stopped() -> None:
    whole = shuffled_batches(10, 4, 0, seed=1)
    first = [next(whole) for _ in range(6)]
    later = shuffled_batches(10, 4, 3, seed=1)
    for expected in first[3:]:
        torch.testing.assert_close(next(later), expected)
    assert sorted(torch.cat(first)[:10].tolist()) == list(range(10))
    assert next(shuffled_batches(10, 4, 0, seed=2)).tolist() != first[0].tolist()
