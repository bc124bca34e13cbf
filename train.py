"""Compose a config and run it: `python train.py --help`."""

import sys

try:
    from thawlab.entry import train
except ModuleNotFoundError as error:
    if error.name != "thawlab":
        raise
    print(f"{sys.executable} has no thawlab. Run `make install`, then: .venv/bin/python train.py", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(train())
