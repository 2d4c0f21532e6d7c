#!/usr/bin/env python3
"""Write the receipt of an order: a handler of jobs as a program.

The job comes as JSON on standard input. What is printed is kept as the job's output, what goes to
standard error as its log. The exit code says what became of it:

    0   done
    65  the job is wrong and stays so: a person has to look at it
    69  not now: come back later, without using up an attempt
    75  it went wrong and may go well next time (as any other code)

A job can run more than once: when a consumer dies after the work and before its result was
recorded. WARREN_JOB_ID is the same each time, so that the second run finds what the first has done.
"""

import json
import os
import pathlib
import sys

DONE, WRONG, LATER, AGAIN = 0, 65, 69, 75

RECEIPTS = pathlib.Path(os.environ.get("RECEIPTS", "receipts"))


def main():
    job = json.load(sys.stdin)
    args = job["args"]
    order = args.get("order") if isinstance(args, dict) else None
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        print(f"args.order is {order!r}; it must be the number of an order", file=sys.stderr)
        return WRONG
    if (RECEIPTS / "closed").exists():
        return LATER
    path = RECEIPTS / (os.environ["WARREN_JOB_ID"] + ".json")
    try:
        if not path.exists():
            write(path, {"order": order, "attempt": job["attempt"]})
    except OSError as error:
        print(f"cannot write the receipt: {error}", file=sys.stderr)
        return AGAIN
    print(path.read_text())
    return DONE


def write(path, receipt):
    """Write a file whole or not at all: a run may be killed at any line, and two may overlap."""
    RECEIPTS.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(receipt))
    try:
        os.link(draft, path)  # which, unlike a rename, replaces nothing
    except FileExistsError:
        pass  # the other run was first
    finally:
        draft.unlink()


if __name__ == "__main__":
    sys.exit(main())
