"""`python -m interp` is `interp`."""

import sys

from interp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
