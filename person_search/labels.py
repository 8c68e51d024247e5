"""The three kinds of person label, never mixed.

A person id >= 0 names an identity (contiguous per data set; raw ids are kept in the metadata).
The two negative labels mark what has no identity.
"""

UNLABELED = -1
"""A person whose identity nobody annotated."""

BACKGROUND = -2
"""Not a person."""
