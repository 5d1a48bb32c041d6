// Features of a graph's nodes in one request, then the examples of the one that is clicked, as graph pages ask for them.
async function main(url) {
  const post = async (path, body) => {
    const response = await fetch(url + path, {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    return response.json()
  }
  const nodes = [["0-res", 3], ["1-res", 3], ["0-res", 8], ["1-res", 22], ["0-res", 400]]
  const wanted = nodes.map(([layer, index]) => ({modelId: "tiny", layer, index, maxActsToReturn: 1}))
  const features = await post("/api/features", wanted)
  const byNode = nodes.map(([layer, index]) =>
    features.find(each => each.layer === layer && each.index === index.toString()))
  const [first] = await post("/api/activation/get", {modelId: "tiny", source: "0-res", index: byNode[0].index})
  return {
    labels: byNode.map(each => each?.explanations[0]?.description ?? null),
    activations: byNode.map(each => each?.activations.length ?? null),
    clicked: first.tokens[first.maxValueTokenIndex],
  }
}
