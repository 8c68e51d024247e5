"""``python -m person_search``: the command ``person-search``."""

import sys

from person_search.gallery.cli import main

if __name__ == "__main__":
    sys.exit(main())
