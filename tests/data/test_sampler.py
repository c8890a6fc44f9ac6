"""What makes a run elastic: a step of the whole group uses the same samples whatever the number of ranks."""
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.sampler import DistributedSampler


def test_drop_last_literally():
    def parts(num_samples, group_size):
        return [DistributedSampler(num_samples, rank=rank, group_size=group_size, shuffle=False,
                                   drop_last=True).indices(0).tolist()
                for rank in range(group_size)]

    assert parts(7, 2) == [[0, 2, 4], [1, 3, 5]]
    assert parts(8, 2) == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert parts(2, 3) == [[], [], []]
    assert parts(3, 1) == [[0, 1, 2]]


@settings(max_examples=60, deadline=None)
@given(num_samples=st.integers(1, 60), share=st.integers(1, 4), ranks=st.sampled_from([1, 2, 3, 4, 6]),
       seed=st.integers(0, 2 ** 40), epoch=st.integers(0, 1000))
def test_a_global_step_uses_the_same_samples_on_any_number_of_ranks(num_samples, share, ranks, seed, epoch):
    def steps(group_size):
        batch_size = 12 * share // group_size
        parts = [DistributedSampler(num_samples, rank=rank, group_size=group_size, seed=seed,
                                    drop_last=True).indices(epoch).tolist()
                 for rank in range(group_size)]
        assert len({len(part) for part in parts}) == 1
        counts = {len(part) // batch_size for part in parts}
        return [sorted(index for part in parts for index in part[i * batch_size:(i + 1) * batch_size])
                for i in range(counts.pop())]

    found = steps(ranks)
    assert found == steps(1) and len(found) == num_samples // (12 * share)
    assert len({index for step in found for index in step}) == 12 * share * len(found)  # nothing twice
