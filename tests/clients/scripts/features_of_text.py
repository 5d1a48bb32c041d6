"""Which features fire on a text, over all layers, and the strongest of each token."""

import json
import os

import requests

url, text = os.environ["URL"], os.environ["TEXT"]
body = {
    "modelId": "small",
    "sourceSet": "res",
    "text": text,
    "selectedLayers": ["1-res", "2-res"],
    "sortIndexes": [],
    "ignoreBos": True,
    "densityThreshold": -1,
    "numResults": 5,
}
response = requests.post(f"{url}/api/search-all", json=body, headers={"Content-Type": "application/json"})
data = response.json()
top = [
    [row["layer"], int(row["index"]), row["maxValue"], data["tokens"][row["maxValueIndex"]]] for row in data["result"]
]
body = {"modelId": "small", "source": "1-res", "text": text, "numResults": 1, "ignoreBos": True, "densityThreshold": 0}
rows = requests.post(f"{url}/api/search-topk-by-token", json=body).json()["results"]
strongest = [[row["token"], *(each["featureIndex"] for each in row["topFeatures"])] for row in rows]
print(json.dumps({"top": top, "strongest": strongest}))
