"""`make bench`: thawlab, hand-written loops and other libraries at the same work, taking turns."""
