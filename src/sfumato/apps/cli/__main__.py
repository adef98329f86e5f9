"""`python -m sfumato.apps.cli`, also under `accelerate launch -m`."""

import sys

from sfumato.apps.cli.app import main

sys.exit(main())
