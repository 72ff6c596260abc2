"""Real servers and workers for the tests, as processes of this machine."""

import os
import sys
from pathlib import Path

#: Names the folder of an installed wheel that is tested in place of the checkout.
INSTALLED = "TESTS_INSTALLED"

if (_folder := os.environ.get(INSTALLED)) and not Path(sys.prefix).is_relative_to(_folder):
    from tests.support.placed import place

    place(Path(_folder))
