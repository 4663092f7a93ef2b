"""See `command`."""

import sys

from mqbridge_conformance.proofs.command import main

sys.exit(main())
