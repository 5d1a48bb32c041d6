"""The densest features of a source, by reading every feature just for its frac_nonzero."""

import json
import os

import requests

session = requests.Session()
session.headers.update({"X-API-KEY": os.environ.get("NEURONPEDIA_API_KEY", "")})
densities = {}
index = 0
while True:
    response = session.get(f"{os.environ['URL']}/api/feature/tiny/1-res/{index}")
    if response.status_code != 200:
        break
    densities[index] = response.json()["frac_nonzero"]
    index += 1
print(json.dumps({"features": index, "densest": sorted(densities, key=densities.get, reverse=True)[:5]}))
