"""Searches of a list of concepts that sleep through the rate limit and try again."""

import json
import os
import time

import requests

API_URL = os.environ["URL"] + "/api/explanation/search-model"
CONCEPTS = ["exceptions", "closing brackets", "the word self", "import statements", "numbers"] * 5
waits = 0


def search(query, retries=3):
    global waits
    for _ in range(retries):
        response = requests.post(API_URL, json={"modelId": "tiny", "query": query}, timeout=30)
        if response.status_code == 429:
            waits += 1
            time.sleep(1)  # 61 minutes there
            continue
        response.raise_for_status()
        return response.json()["results"]
    raise RuntimeError("rate limited")


top = {concept: search(concept)[0]["description"] for concept in CONCEPTS}
print(json.dumps({"waits": waits, "top": top}))
