#!/usr/bin/env python3
"""Publish a receipt for an order over HTTP: publish.py ORDER. Prints what became of the job."""

import json
import os
import random
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("WARREN_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("WARREN_API_TOKEN", "")
ATTEMPTS = 6


class Refused(Exception):
    """The job itself is wrong: another attempt would end in the same way."""


def publish(job, key):
    """Publish a job once, however often it is called with this key within a day."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if TOKEN:
        headers["Authorization"] = "Bearer " + TOKEN
    request = urllib.request.Request(URL + "/api/v1/jobs", json.dumps(job).encode(), headers)
    for attempt in range(1, ATTEMPTS + 1):
        wait = 0.2 * 2**attempt * random.uniform(0.5, 1)
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise Refused(reason(error)) from error
            failure = error
            after = error.headers.get("Retry-After", "")
            if after.isdigit():
                wait = max(wait, int(after))
        except (OSError, ValueError) as error:  # no connection, a timeout, an answer that was cut off
            failure = error
        if attempt == ATTEMPTS:
            raise failure
        time.sleep(wait)


def reason(error):
    """What a problem says, or the status alone when a proxy has answered."""
    try:
        return json.load(error)["detail"]
    except (ValueError, KeyError, TypeError):
        return str(error)


def main():
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("usage: publish.py ORDER")
    order = int(sys.argv[1])
    try:
        done = publish({"kind": "receipt", "args": {"order": order}}, key=f"receipt-{order}")
    except (Refused, OSError, ValueError) as error:
        sys.exit(f"publish.py: order {order} has no receipt yet: {error}")
    print(json.dumps(done))


if __name__ == "__main__":
    main()
