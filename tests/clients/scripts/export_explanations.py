"""All explanations of a source as one file, in the form that steering benchmarks read."""

import json
import os

import requests

url = f"{os.environ['URL']}/api/explanation/export"
response = requests.get(url, params={"modelId": "tiny", "saeId": "0-res"}, headers={"X-Api-Key": "any"})
response.raise_for_status()
concepts = {}
for row in sorted(response.json(), key=lambda row: int(row["index"])):
    concepts.setdefault(row["index"], row["description"])
print(json.dumps({"features": len(concepts), "first": list(concepts.items())[:3]}))
