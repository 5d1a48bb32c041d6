"""Ask a store of the demo every question of featurestore/wire/call_examples.py, and keep what it answers for /docs.

    python docs/record_answers.py demo.features

The store is copied first, since some of the questions write. Lists are kept to their first elements.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import featurestore
from featurestore.web import Settings, create_app
from featurestore.wire.call_examples import EXAMPLES, JOB, CallExample
from featurestore.wire.questions import QUESTIONS

ANSWERS = Path(featurestore.__file__).parent / "web" / "pages" / "api_answers.json"
MOST_ITEMS, MOST_TEXT = 2, 90


def main() -> None:
    """Record the answers of a copy of the store that is named."""
    questions = {question.name: question for question in QUESTIONS}
    recorded: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(sys.argv[1], Path(folder) / "demo.features")
        with featurestore.connect(copy) as store:
            http = create_app(store, Settings(writes=True)).test_client()
            job = JOB
            for name, example in EXAMPLES.items():
                answer = ask(http, questions[name], example, job)
                if answer.status_code >= 300:
                    raise SystemExit(f"{name}: {answer.status_code} {answer.text}")
                job = answer.json["id"] if name == "start_job" else job
                recorded[name] = cut(json.loads(answer.text.replace(job, JOB).replace(str(copy), "demo.features")))
    ANSWERS.write_text(json.dumps(recorded, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    print(f"{ANSWERS}: {len(recorded)} answers, {ANSWERS.stat().st_size:,} bytes")


def ask(http: Any, question: Any, example: CallExample, job: str) -> Any:
    """Return the answer of a test client of the service to the call; `job` is the id in the place of JOB."""
    url = f"{question.prefix}/{question.url(job if example.id == JOB else example.id)}"
    method = question.methods[0]
    if method in ("GET", "DELETE"):
        return http.open(url, method=method, query_string=example.fields)
    return http.open(url, method=method, json=example.fields)


def cut(value: Any) -> Any:
    """Return the value with its lists and texts cut, and paths of this machine taken away."""
    if isinstance(value, list):
        rest = len(value) - MOST_ITEMS
        return [cut(item) for item in value[:MOST_ITEMS]] + ([f"… {rest:,} more"] if rest > 0 else [])
    if isinstance(value, dict):
        return {name: cut(item) for name, item in value.items()}
    if isinstance(value, str):
        value = re.sub(r"^/.*/(featurestore_demo/)", r"\1", value)
        return value if len(value) <= MOST_TEXT else value[:MOST_TEXT] + " …"
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
