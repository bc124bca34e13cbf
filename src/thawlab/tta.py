"""Test-time augmentation: what a network says of several views of an image, made one."""

import math

from torch import Tensor
from torch.nn.functional import logsigmoid


def mean_of_views(logits: Tensor, multilabel: bool = False) -> Tensor:
    """Logits (n, classes) whose probabilities are the mean over the views of those of `logits` (n, views, classes).

    Given as logits again, so that whatever is computed from them is computed from the mean probabilities: the softmax
    of the result is the mean softmax, and its cross-entropy the mean's negative log-likelihood; of several labels, the
    same with the sigmoid.
    """
    if multilabel:
        return logsigmoid(logits).logsumexp(dim=1) - logsigmoid(-logits).logsumexp(dim=1)
    return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(logits.shape[1])
