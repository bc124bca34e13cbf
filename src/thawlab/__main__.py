"""`python -m thawlab`: the same as train.py, for an installed copy."""

from thawlab.cli import main

main()
