"""Compose a config and run it: `python train.py --help`."""

from thawlab.cli import main

if __name__ == "__main__":
    main()
