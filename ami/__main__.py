"""`python -m ami`: the same as the command `ami`."""

import sys

from ami.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
