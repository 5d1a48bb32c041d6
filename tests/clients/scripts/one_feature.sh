# The label, the density and the strongest tokens of a feature, as a README shows it.
curl -s "$URL/api/feature/tiny/0-res/8" -H "x-api-key: $NEURONPEDIA_API_KEY" |
    jq -c '{label: .explanations[0].description, by: .explanations[0].explanationModelName, density: .frac_nonzero,
            raises: [.pos_str, .pos_values] | transpose,
            peak: .activations[0] | .tokens[.maxValueTokenIndex]}'
