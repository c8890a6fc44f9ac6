"""A double of Huawei's moxing: folders below $MOXING_BUCKETS stand in for buckets. See file.py."""
from . import file as file
