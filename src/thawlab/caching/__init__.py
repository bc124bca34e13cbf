"""Computing what frozen stages give for an image once: where a run may, whether it should, and how it is used."""
