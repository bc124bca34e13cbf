"""Runs killed at random moments and started again: do they end as if nothing had happened?"""

import random

from chaos import trials
from chaos.asked import Asked, Row
from chaos.cases import cases

FULL = 200


def test(asked: Asked) -> list[Row]:
    count = asked.times(FULL)
    place = asked.work / "kills"
    known, found = {}, []
    kinds = cases(place, asked.seed)
    for i in range(count):
        case = kinds[i % len(kinds)]
        if case.name not in known:
            known[case.name] = trials.reference(case, place / f"reference-{i}")
        one = trials.killed(known[case.name], place / f"trial-{i}", random.Random(f"{asked.seed} {i}"))
        found.append(one)
        asked.tell(f"  {i + 1}/{count} {case.name}: killed {'; '.join(one.deaths)}: {_verdict(one)}")
    same = sum(not one.differs for one in found)
    deaths = sum(len(one.deaths) for one in found)
    return [
        Row(
            "Runs killed at random moments, then started again until they end",
            "all bit-identical",
            count,
            f"{same} of {count} bit-identical, after {deaths} kills; {len(known)} kinds of run",
            same == count,
            tuple(f"{one.case.name} ({'; '.join(one.deaths)}): {_verdict(one)}" for one in found if one.differs),
        )
    ]


def _verdict(one: trials.Killed) -> str:
    return f"differs in {', '.join(one.differs)}" if one.differs else "the same"
