// Nearest features in another source, and a message to show where there is none such.
async function main(url) {
  const ask = target => fetch(`${url}/api/cossim`, {
    method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({modelId: "tiny", source: "0-res", index: 0, targetModelId: "tiny", targetSourceId: target}),
  })
  const {topkDecoderCossimFeatures: near} = await (await ask("1-res")).json()
  const missing = await ask("7-res")
  return {
    near: near.slice(0, 3).map(each => [each.feature.index, each.cosineSimilarity]),
    missing: [missing.status, (await missing.json()).message.slice(0, 13)],
  }
}
