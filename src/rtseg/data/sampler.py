"""Shares the samples of an epoch among the processes of a data-parallel run."""
import numpy as np

from rtseg.utils.errors import ConfigError


class DistributedSampler:
    """Indices of one rank: every `group_size`-th of an epoch's order, which is the same on every rank.

    So the samples that all ranks use in their i-th batches are the same set as the i-th batch of one process with a
    batch `group_size` times as large. A run saved on some ranks can go on in mid-epoch on any other number of them.

    Args:
        num_samples: size of the dataset.
        rank: this process, 0..group_size-1.
        shuffle: False keeps the dataset's order in every epoch.
        seed: the epochs' orders are a function of it and of the epoch.
        pad: True (training) gives every rank equally many samples, by starting over where they run out; False
            (evaluation) gives each sample to exactly one rank, so some ranks may have one less.
        drop_last: gives every rank equally many samples by leaving out, in each epoch others, those that the group size
            does not divide; `pad` has no meaning then. Unlike padding, it gives the same number of complete batches
            whatever the group size.

    Raises:
        ConfigError: an empty dataset, or a rank or group size that cannot be.
    """

    def __init__(self, num_samples: int, *, rank: int = 0, group_size: int = 1, shuffle: bool = True, seed: int = 0,
                 pad: bool = True, drop_last: bool = False) -> None:
        if num_samples < 1:
            raise ConfigError(f"the dataset has {num_samples} samples: expected at least 1")
        if group_size < 1 or not 0 <= rank < group_size:
            raise ConfigError(f"rank {rank} of a group of {group_size}: expected a group of at least 1 and "
                              "0 <= rank < group size; check --rank and --group_size or the launcher")
        self.num_samples = num_samples
        self.rank = rank
        self.group_size = group_size
        self.shuffle = shuffle
        self.seed = seed
        if drop_last:
            self.total = num_samples - num_samples % group_size
        else:
            self.total = num_samples + (-num_samples % group_size if pad else 0)

    def __len__(self) -> int:
        """Number of samples of this rank in an epoch."""
        return len(range(self.rank, self.total, self.group_size))

    def indices(self, epoch: int) -> np.ndarray:
        """Returns the dataset indices of this rank in `epoch` (0, 1, ...), int64, in the order of use."""
        order = np.arange(self.num_samples, dtype=np.int64)
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        return np.resize(order, self.total)[self.rank::self.group_size]
