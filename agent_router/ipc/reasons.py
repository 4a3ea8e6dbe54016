"""Why a command ended: the words that the runner writes to its journal and the verdict is made from."""

DONE = "done"  # the process ended by itself; its status tells the rest
TIMEOUT, CANCELLED = "timeout", "cancelled"
OUTPUT_LIMIT, LOG_LIMIT = "output_limit", "log_limit"
NOT_STARTED = "not_started"
REFUSED = "refused"  # by the device list, before anything was started
STUCK = "stuck"  # SIGKILL has no effect: the process hangs in the kernel
UNKNOWN = "outcome_unknown"
