"""A request handler of a product, as it asks bakeoff and says what the customer did.

    BAKEOFF_KEY=bko_... python suggest.py [URL]

Needs a server for the task of `bakeoff init --task checkout` (docs/serving.md)."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from bakeoff.client import Client, Rejected, Unavailable

REQUEST: Mapping[str, Any] = {
    "date": "2025-01-06",
    "customer": {"likes": ["warm"], "avoids": ["nuts"]},
    "options": [
        {"id": "soup", "title": "Tomato soup", "tags": ["warm"]},
        {"id": "cake", "title": "Nut cake", "tags": ["sweet", "nuts"]},
    ],
}


def suggest(bakeoff: Client, customer: str, request: Mapping[str, Any]) -> str | None:
    """What to show; None where the product shows its usual page."""
    try:
        served = bakeoff.decide(
            "checkout_policy", unit_id=customer, request=request, key=f"{customer}/{request['date']}"
        )
    except (Rejected, Unavailable) as problem:
        print(f"no suggestion: {problem}", file=sys.stderr)
        return None
    option = str(served.answer["option"])
    bakeoff.log(
        "checkout",
        "chosen",
        unit_id=customer,
        context=served.context,  # as it came: it says which variant and version this customer met
        payload={"accepted_by": "user", "option": option},
    )
    return option


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    with Client(url, os.environ["BAKEOFF_KEY"]) as client:
        print(suggest(client, "customer-7", REQUEST))
