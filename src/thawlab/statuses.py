"""A run's status, as people say it."""

_WORDS = {"out_of_memory": "out of memory", "timeout": "ended by its time limit", "held": "not run"}


def in_words(status: str) -> str:
    """Say a status of a record.

    >>> in_words("out_of_memory"), in_words("failed")
    ('out of memory', 'failed')
    """
    return _WORDS.get(status, status)
