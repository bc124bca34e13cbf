"""Pictures for tests."""

import numpy as np
import torch


def photo(height, width, seed=0):
    """Smooth colour, edges and grain: what resizing has to cope with in a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + c) * np.cos(y / b) for a, b, c in ((31, 47, 0), (17, 90, 1), (60, 12, 2))]
    pixels = 127 + 90 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 60)
    return torch.tensor(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
