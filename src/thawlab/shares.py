"""Shares of a network's parameters as text."""


def percent(share: float) -> str:
    """A share (0 to 1) in percent, with one decimal; where that would read 0.0, with the first digit that counts.

    >>> [percent(share) for share in (1, 0.0256, 0.0009, 0.00009, 0.0)]
    ['100.0', '2.6', '0.09', '0.009', '0.0']
    >>> percent(4e-8)
    '<0.0001'
    """
    if not 0 < share < 0.001:
        return f"{100 * share:.1f}"
    return f"{100 * share:.1g}" if share >= 1e-6 else "<0.0001"
