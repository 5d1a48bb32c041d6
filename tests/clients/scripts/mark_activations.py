"""Top activations of a feature as marked text, through the route that graph pages use on a click."""

import json
import os

import requests

body = {"modelId": "tiny", "source": "0-res", "index": "3"}
activations = requests.post(f"{os.environ['URL']}/api/activation/get", json=body).json()
lines = []
for activation in sorted(activations, key=lambda activation: activation["maxValue"], reverse=True)[:2]:
    pairs = zip(activation["tokens"], activation["values"], strict=True)
    lines.append("".join(f"<<{token}>>" if value > 0 else token for token, value in pairs))
    assert activation["values"][activation["maxValueTokenIndex"]] == activation["maxValue"]
print(json.dumps(lines))
