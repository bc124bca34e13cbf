"""Processes that share a store, forked once torch is there: python store_processes.py <what> <folder> [numbers].

eight: as many processes as asked ask for the same rows at once; prints who computed how many.
kills: builds are killed at random moments; prints how many were, how many of them half-way, and what was read amiss.
full: a build whose files may not grow; prints what it says.
waits: a process asks for what another is building; prints what it says on stderr, and how many rows it computed.
"""

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import torch
from stored import KEY, LAYOUT, ROW_BYTES, Network, entry, names, opened, row

from thawlab.store import RowStore, TooLarge

torch.set_num_threads(1)


class SlowNetwork(Network):
    """Takes its time, so that there is one to be killed in."""

    def __init__(self, numbers, seconds, batch=3):
        super().__init__(numbers, batch)
        self.seconds = seconds

    def __call__(self, positions):
        for batch in super().__call__(positions):
            time.sleep(self.seconds)
            yield batch


def forked(work):
    """Run `work` in a fork of this process; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wrong(rows, numbers):
    """Numbers whose row is not theirs."""
    got = rows.gather(torch.arange(len(numbers)))
    return [n for i, n in enumerate(numbers) if not all(torch.equal(t[i], r) for t, r in zip(got, row(n), strict=True))]


def eight(folder, count):
    start = time.time() + 0.5

    def work(i):
        time.sleep(max(0, start - time.time()))
        numbers = random.Random(i).sample(range(30), 30)
        rows, asked = opened(folder, numbers, network=SlowNetwork(numbers, 0.02))
        (folder / f"process{i}.json").write_text(json.dumps([len(asked), rows.found, wrong(rows, numbers)]))

    children = [forked(lambda i=i: work(i)) for i in range(count)]
    assert [ended(child) for child in children] == [0] * count
    print(json.dumps([json.loads(path.read_text()) for path in sorted(folder.glob("process*.json"))]))


def kills(folder, count):
    """Until so many builds were killed, each of ten images more than the last; what one published must be right."""
    draw = random.Random(0)
    killed, half, amiss, rounds = 0, 0, [], 0

    def timed_build(numbers):
        began = time.monotonic()
        assert ended(forked(lambda: build(numbers))) == 0
        return time.monotonic() - began

    def build(numbers):
        opened(folder, numbers, network=SlowNetwork(numbers, 0.002))

    whole = min(timed_build(range(10**6 + i, 10**6 + i + 10)) for i in (0, 10, 20))
    while killed < count:
        numbers = list(range(10 * rounds, 10 * rounds + 10))
        rounds += 1
        child = forked(lambda numbers=numbers: build(numbers))
        time.sleep(draw.uniform(0, whole))
        os.kill(child, signal.SIGKILL)
        killed += ended(child) == -signal.SIGKILL
        half += bool(list(entry(folder).glob(".building-*")))
        there = RowStore(folder, 10**9).has(KEY, names(numbers))
        rows, asked = opened(folder, numbers)
        amiss += wrong(rows, numbers) + ([] if (there, asked) in ((0, numbers), (10, [])) else [[there, asked]])
        amiss += [str(path) for path in entry(folder).glob(".building-*")]
    everything = list(range(10 * rounds))
    rows, asked = opened(folder, everything)
    print(json.dumps({"killed": killed, "half": half, "amiss": amiss + wrong(rows, everything) + asked}))


def full(folder, nbytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))
    try:
        RowStore(folder, 10**9).open(KEY, names(range(500)), LAYOUT, Network(range(500)), ROW_BYTES)
    except TooLarge as refused:
        print(json.dumps([str(refused), [path.name for path in entry(folder).iterdir() if path.is_dir()]]))


def waits(folder, count):
    first = forked(lambda: opened(folder, range(count), network=SlowNetwork(range(count), 0.1)))
    while not list(entry(folder).glob(".building-*/tensor0.bin")):
        time.sleep(0.01)
    _, asked = opened(folder, range(count))
    assert ended(first) == 0
    print(json.dumps([first, asked]))


if __name__ == "__main__":
    what, folder, number = sys.argv[1:]
    {"eight": eight, "kills": kills, "full": full, "waits": waits}[what](Path(folder), int(number))
