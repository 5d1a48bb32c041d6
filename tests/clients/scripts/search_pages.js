// All results of a search, page after page until there are no more, as a page with a button "more" does.
async function main(url) {
  const seen = []
  let offset = 0, pages = 0
  for (;;) {
    const response = await fetch(`${url}/api/explanation/search-all`, {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({query: "exceptions", offset}),
    })
    const data = await response.json()
    pages += 1
    for (const {modelId, layer, index} of data.results) seen.push(`${modelId}@${layer}:${index}`)
    if (!data.hasMore) break
    offset = data.nextOffset
  }
  return {pages, count: seen.length, different: new Set(seen).size, first: seen[0]}
}
