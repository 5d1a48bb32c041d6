# Hits of a search in some sources: place, cosine, label, and the top token of each.
curl -s -X POST "$URL/api/explanation/search" \
    -H "Content-Type: application/json" -H "X-Api-Key: $NEURONPEDIA_API_KEY" \
    -d '{"modelId": "tiny", "layers": ["0-res", "1-res"], "query": "closing brackets", "offset": 0}' |
    jq -c '[.results[] | [.layer, (.index | tonumber), .cosine_similarity, .description, .neuron.pos_str[0]]]'
