"""Settings of the whole suite."""

import torch
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

# Sums in another number of threads differ in their last bits, and tests compare bytes across processes.
torch.set_num_threads(1)
