"""Tests of what only another kernel has. Outside the machine that hack/vm/run boots they are not collected: make test-vm."""

import os

collect_ignore_glob = [] if os.environ.get("TORTIE_VM") == "1" else ["test_*.py"]
