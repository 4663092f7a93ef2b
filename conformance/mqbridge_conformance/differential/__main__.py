"""See `running`."""

import sys

from mqbridge_conformance.differential.running import main

sys.exit(main())
