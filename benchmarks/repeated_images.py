"""A few images that stand for many."""


class Repeated:
    """A data set of `count` samples that goes round the images of another one."""

    def __init__(self, dataset, count: int):
        self.dataset = dataset
        self.count = count

    def __len__(self):
        return self.count

    def load(self, index: int):
        return self.dataset.load(index % len(self.dataset))
