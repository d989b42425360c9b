"""`dcbridge worker` as of a version that has no job `mail`: python -m tests.workers.older_worker worker …"""

from __future__ import annotations

import sys

from dcbridge.cli.app import main
from dcbridge.ledger.jobs import JOBS
from workers.job_data import FUNCTIONS

if __name__ == "__main__":
    del FUNCTIONS[JOBS["mail"].path]
    sys.argv[0] = "dcbridge"
    main()
