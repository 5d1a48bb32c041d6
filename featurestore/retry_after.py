"""The Retry-After header of HTTP answers."""

from __future__ import annotations

import datetime
import email.utils
import re


def parse_retry_after(value: str) -> float | None:
    """Returns the seconds that a Retry-After header asks to wait; None where it is neither a number nor a date.

    RFC 9110, 10.2.3, has whole seconds or a date; some services write decimals.
    """
    text = value.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return max(0.0, (then - datetime.datetime.now(datetime.UTC)).total_seconds())
