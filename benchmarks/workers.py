"""Worker processes of a pool that end together with whoever started them."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Have this worker process end as soon as the one that started it is gone, by whatever signal it went.

    For the ``initializer`` of a pool: its workers look only between two pieces of work, and a piece may take minutes;
    and where they were forked, they hold each other's end of the queue open and look for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # this is no worker
        return

    def watch() -> None:
        # The end of a pipe that the parent holds (as in trainer/export/worker.py); where workers are forked, those that
        # came later hold it too, and the last one ends first.
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
