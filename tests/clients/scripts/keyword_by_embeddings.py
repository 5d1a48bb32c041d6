"""A search by words, done with many searches by meaning and a look at each label."""

import json
import os

import requests

words = ["self", "string", "docstring", "brackets"]
labels = {}
for word in words:
    offset = 0
    while offset is not None and offset < 100:
        body = {"query": f"the word {word}", "modelId": "tiny", "layers": ["0-res"], "offset": offset}
        data = requests.post(f"{os.environ['URL']}/api/explanation/search", json=body).json()
        for result in data["results"]:
            if word in result["description"].lower():
                labels.setdefault(word, set()).add(int(result["index"]))
        offset = data["nextOffset"] if data["hasMore"] else None
print(json.dumps({word: sorted(indices) for word, indices in labels.items()}))
