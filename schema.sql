-- The tables of a feature store, once. DuckDB DDL.
--
-- The tables of schema `stored` are what Parquet parts hold, column for column; writers insert every batch into a
-- scratch copy of them first, so that types, NOT NULL and CHECK are enforced before a part becomes visible.
-- The views below, in schema `main`, are what people query.

CREATE SCHEMA stored;

CREATE TABLE stored.dictionaries (
    dictionary        VARCHAR NOT NULL CHECK (regexp_full_match(dictionary, '[^/\s]+/[^/\s]+')),
    model             VARCHAR NOT NULL,
    source            VARCHAR NOT NULL,
    kind              VARCHAR NOT NULL CHECK (kind IN ('sae', 'transcoder', 'clt')),
    architecture      VARCHAR NOT NULL,
    hook_point        VARCHAR NOT NULL,
    hook_point_out    VARCHAR,
    layer             INTEGER CHECK (layer >= 0),
    site              VARCHAR,
    d_in              INTEGER NOT NULL CHECK (d_in > 0),
    d_out             INTEGER NOT NULL CHECK (d_out > 0),
    d_sae             INTEGER NOT NULL CHECK (d_sae > 0),
    space             VARCHAR NOT NULL,
    model_location    VARCHAR,
    model_hash        VARCHAR,
    weights_location  VARCHAR,
    weights_hash      VARCHAR,
    tokenizer         VARCHAR,
    corpus            VARCHAR,
    context_size      INTEGER CHECK (context_size > 0),
    tokens_counted    BIGINT CHECK (tokens_counted >= 0),
    tokens_excluded   BIGINT CHECK (tokens_excluded >= 0),
    settings          VARCHAR,
    tool              VARCHAR NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (dictionary),
    CHECK (dictionary = model || '/' || source));
COMMENT ON TABLE  stored.dictionaries IS 'The features of one trained SAE or transcoder at one hook point of one model.';
COMMENT ON COLUMN stored.dictionaries.dictionary IS 'Its id, model/source, as in gpt2-small/8-res-jb.';
COMMENT ON COLUMN stored.dictionaries.model IS 'The language model, the part of the id before the slash.';
COMMENT ON COLUMN stored.dictionaries.source IS 'The part of the id after the slash.';
COMMENT ON COLUMN stored.dictionaries.kind IS 'sae (reads and writes one place), transcoder (reads one, writes another) or clt.';
COMMENT ON COLUMN stored.dictionaries.architecture IS 'How it encodes: standard, gated, jumprelu, topk, ...';
COMMENT ON COLUMN stored.dictionaries.hook_point IS 'Where activations are read, in TransformerLens''s names: blocks.8.hook_resid_pre.';
COMMENT ON COLUMN stored.dictionaries.hook_point_out IS 'Where a transcoder''s output belongs; null for an SAE.';
COMMENT ON COLUMN stored.dictionaries.layer IS 'The layer of hook_point, from 0.';
COMMENT ON COLUMN stored.dictionaries.site IS 'What is read there: resid_pre, resid_post, mlp_in, mlp_out, attn_out, hook_z, ...';
COMMENT ON COLUMN stored.dictionaries.d_in IS 'Width the dictionary reads.';
COMMENT ON COLUMN stored.dictionaries.d_out IS 'Width it writes: the length of a decoder vector.';
COMMENT ON COLUMN stored.dictionaries.d_sae IS 'Number of features; feature runs from 0 to d_sae - 1.';
COMMENT ON COLUMN stored.dictionaries.space IS 'The coordinates its decoder vectors live in; vectors of one space can be compared. The model''s id for its residual stream.';
COMMENT ON COLUMN stored.dictionaries.model_location IS 'Directory or hub reference the model was loaded from.';
COMMENT ON COLUMN stored.dictionaries.model_hash IS 'sha256 of the model''s weights, first 16 hex digits.';
COMMENT ON COLUMN stored.dictionaries.weights_location IS 'Directory or hub reference the dictionary''s weights were loaded from.';
COMMENT ON COLUMN stored.dictionaries.weights_hash IS 'sha256 of the dictionary''s weights, first 16 hex digits.';
COMMENT ON COLUMN stored.dictionaries.tokenizer IS 'Id of the model''s tokenizer, see stored.tokenizers.';
COMMENT ON COLUMN stored.dictionaries.corpus IS 'Id of the corpus harvested over, see stored.documents; null when only weights were read.';
COMMENT ON COLUMN stored.dictionaries.context_size IS 'Tokens the model saw at once, the leading BOS included.';
COMMENT ON COLUMN stored.dictionaries.tokens_counted IS 'Tokens every density is a fraction of.';
COMMENT ON COLUMN stored.dictionaries.tokens_excluded IS 'Tokens the model saw that are not counted: BOS and padding.';
COMMENT ON COLUMN stored.dictionaries.settings IS 'The harvest''s settings, as JSON.';
COMMENT ON COLUMN stored.dictionaries.tool IS 'Name and version of the program that wrote the dictionary.';
COMMENT ON COLUMN stored.dictionaries.created_at IS 'When it was written.';

CREATE TABLE stored.features (
    dictionary             VARCHAR NOT NULL,
    feature                INTEGER NOT NULL CHECK (feature >= 0),
    density                DOUBLE  CHECK (density BETWEEN 0 AND 1),
    active_tokens          BIGINT  CHECK (active_tokens >= 0),
    active_contexts        BIGINT  CHECK (active_contexts >= 0),
    mean_activation        FLOAT   CHECK (isfinite(mean_activation)),
    std_activation         FLOAT   CHECK (isfinite(std_activation)),
    max_activation         FLOAT   CHECK (isfinite(max_activation)),
    histogram              BIGINT[],
    decoder_norm           FLOAT   CHECK (isfinite(decoder_norm)),
    encoder_norm           FLOAT   CHECK (isfinite(encoder_norm)),
    encoder_decoder_cosine FLOAT   CHECK (isfinite(encoder_decoder_cosine)),
    top_logits             STRUCT(token VARCHAR, value FLOAT)[],
    bottom_logits          STRUCT(token VARCHAR, value FLOAT)[],
    label                  VARCHAR,
    explainer              VARCHAR,
    PRIMARY KEY (dictionary, feature));
COMMENT ON TABLE  stored.features IS 'One row a feature: how often and how strongly it fires, and what it writes.';
COMMENT ON COLUMN stored.features.dictionary IS 'The dictionary it belongs to.';
COMMENT ON COLUMN stored.features.feature IS 'Its index in the dictionary, from 0.';
COMMENT ON COLUMN stored.features.density IS 'Fraction of counted tokens on which the activation is not zero; null when nothing was harvested.';
COMMENT ON COLUMN stored.features.active_tokens IS 'Counted tokens on which the activation is not zero.';
COMMENT ON COLUMN stored.features.active_contexts IS 'Contexts with at least one such token.';
COMMENT ON COLUMN stored.features.mean_activation IS 'Mean over active tokens; null for a dead feature.';
COMMENT ON COLUMN stored.features.std_activation IS 'Standard deviation (population) over active tokens; null for a dead feature.';
COMMENT ON COLUMN stored.features.max_activation IS 'Largest activation seen; null for a dead feature.';
COMMENT ON COLUMN stored.features.histogram IS 'Active tokens by |activation|: 64 bins, bin b holds [2^(b/4 - 6), 2^((b+1)/4 - 6)), the first and last also what lies beyond.';
COMMENT ON COLUMN stored.features.decoder_norm IS 'L2 norm of the decoder vector.';
COMMENT ON COLUMN stored.features.encoder_norm IS 'L2 norm of the encoder vector.';
COMMENT ON COLUMN stored.features.encoder_decoder_cosine IS 'Cosine of encoder and decoder vector; null when their widths differ or one is zero.';
COMMENT ON COLUMN stored.features.top_logits IS 'Tokens whose logits the decoder vector raises most, strongest first.';
COMMENT ON COLUMN stored.features.bottom_logits IS 'Tokens whose logits it lowers most, strongest first.';
COMMENT ON COLUMN stored.features.label IS 'A copy of the best label, made by `featurestore compact`; the view features shows the one that counts now.';
COMMENT ON COLUMN stored.features.explainer IS 'Whose label that is.';

-- Which parts of stored.features hold a current copy of the best labels, and which were written before labels came.
-- Who opens a store puts views over the two kinds of parts in the place of these.
CREATE VIEW stored.labelled_features AS FROM stored.features WHERE false;
COMMENT ON VIEW stored.labelled_features IS 'Features whose copied label is the best one now.';
CREATE VIEW stored.unlabelled_features AS FROM stored.features;
COMMENT ON VIEW stored.unlabelled_features IS 'Features whose best label has to be looked up.';

CREATE TABLE stored.examples (
    dictionary   VARCHAR   NOT NULL,
    feature      INTEGER   NOT NULL CHECK (feature >= 0),
    band         VARCHAR   NOT NULL,
    band_low     FLOAT,
    band_high    FLOAT,
    rank         INTEGER   NOT NULL CHECK (rank >= 0),
    weight       FLOAT     CHECK (weight >= 1),
    corpus       VARCHAR   NOT NULL,
    document     INTEGER   NOT NULL CHECK (document >= 0),
    start        INTEGER   NOT NULL CHECK (start >= 0),
    length       INTEGER   NOT NULL CHECK (length BETWEEN 1 AND 512),
    position     INTEGER   NOT NULL,
    activation   FLOAT     NOT NULL CHECK (isfinite(activation)),
    offsets      USMALLINT[] NOT NULL,
    activations  FLOAT[]   NOT NULL,
    CHECK (position BETWEEN start AND start + length - 1),
    CHECK (len(offsets) = len(activations)));
COMMENT ON TABLE  stored.examples IS 'Windows of tokens around activations. Tokens are referred to, not copied: document, start, length.';
COMMENT ON COLUMN stored.examples.dictionary IS 'The dictionary of the feature.';
COMMENT ON COLUMN stored.examples.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.examples.band IS 'Why it was kept: top, or the activation interval it was sampled from, as in [1, 2).';
COMMENT ON COLUMN stored.examples.band_low IS 'Lower end of that interval, 0 for the lowest; null for top.';
COMMENT ON COLUMN stored.examples.band_high IS 'Upper end, not included; null for top, and for the highest, which has none.';
COMMENT ON COLUMN stored.examples.rank IS 'Place within its band: 0 is the strongest.';
COMMENT ON COLUMN stored.examples.weight IS 'Active tokens of the band that one sampled example stands for; null for top.';
COMMENT ON COLUMN stored.examples.corpus IS 'The corpus the window is cut from.';
COMMENT ON COLUMN stored.examples.document IS 'The document in it.';
COMMENT ON COLUMN stored.examples.start IS 'Position in the document of the window''s first token.';
COMMENT ON COLUMN stored.examples.length IS 'Tokens in the window, at most 512.';
COMMENT ON COLUMN stored.examples.position IS 'Position in the document of the token the example was kept for.';
COMMENT ON COLUMN stored.examples.activation IS 'Activation on that token.';
COMMENT ON COLUMN stored.examples.offsets IS 'Tokens of the window with a non-zero activation, counted from start, ascending.';
COMMENT ON COLUMN stored.examples.activations IS 'Their activations.';

CREATE TABLE stored.tokenizers (
    tokenizer    VARCHAR NOT NULL,
    pieces       VARCHAR[] NOT NULL,
    bytes        BLOB[] NOT NULL,
    PRIMARY KEY (tokenizer));
COMMENT ON TABLE  stored.tokenizers IS 'Vocabularies, one row each.';
COMMENT ON COLUMN stored.tokenizers.tokenizer IS 'Its id: first 16 hex digits of the sha256 of its tokens'' bytes.';
COMMENT ON COLUMN stored.tokenizers.pieces IS 'Text of each token id; bytes that are no character alone are shown as U+FFFD.';
COMMENT ON COLUMN stored.tokenizers.bytes IS 'UTF-8 bytes of each token id, so that characters split over tokens can be joined again.';

CREATE TABLE stored.documents (
    corpus       VARCHAR NOT NULL,
    document     INTEGER NOT NULL CHECK (document >= 0),
    name         VARCHAR,
    tokenizer    VARCHAR NOT NULL,
    length       INTEGER NOT NULL CHECK (length > 0),
    PRIMARY KEY (corpus, document));
COMMENT ON TABLE  stored.documents IS 'The texts harvested over.';
COMMENT ON COLUMN stored.documents.corpus IS 'Id of the corpus: first 16 hex digits of the sha256 of its tokenizer, names and tokens.';
COMMENT ON COLUMN stored.documents.document IS 'Number of the document in it, from 0.';
COMMENT ON COLUMN stored.documents.name IS 'File name, or whatever names it.';
COMMENT ON COLUMN stored.documents.tokenizer IS 'Whose token ids its tokens are.';
COMMENT ON COLUMN stored.documents.length IS 'Its tokens, without BOS.';

CREATE TABLE stored.tokens (
    corpus       VARCHAR NOT NULL,
    document     INTEGER NOT NULL CHECK (document >= 0),
    run          INTEGER NOT NULL CHECK (run >= 0),
    tokens       INTEGER[] NOT NULL CHECK (len(tokens) BETWEEN 1 AND 512),
    PRIMARY KEY (corpus, document, run));
COMMENT ON TABLE  stored.tokens IS 'The documents, tokenised once, in runs of 512 tokens.';
COMMENT ON COLUMN stored.tokens.corpus IS 'The corpus.';
COMMENT ON COLUMN stored.tokens.document IS 'The document in it.';
COMMENT ON COLUMN stored.tokens.run IS 'Number of the run in the document: it begins at token 512 * run.';
COMMENT ON COLUMN stored.tokens.tokens IS 'Token ids, 512 of them but in the last run, without BOS.';

CREATE TABLE stored.labels (
    dictionary   VARCHAR NOT NULL,
    feature      INTEGER NOT NULL CHECK (feature >= 0),
    label        VARCHAR NOT NULL CHECK (length(trim(label)) > 0),
    explainer    VARCHAR NOT NULL CHECK (length(trim(explainer)) > 0),
    prompt       VARCHAR,
    examples     INTEGER CHECK (examples >= 0),
    tool         VARCHAR NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE  stored.labels IS 'Texts that say what a feature means; many per feature.';
COMMENT ON COLUMN stored.labels.dictionary IS 'The dictionary of the feature.';
COMMENT ON COLUMN stored.labels.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.labels.label IS 'The text.';
COMMENT ON COLUMN stored.labels.explainer IS 'Who said so: tokens (token statistics), human, or the name of the language model.';
COMMENT ON COLUMN stored.labels.prompt IS 'Name and version of the prompt or method, as in pairs/1.';
COMMENT ON COLUMN stored.labels.examples IS 'How many examples the explainer saw.';
COMMENT ON COLUMN stored.labels.tool IS 'Name and version of the program that wrote it.';
COMMENT ON COLUMN stored.labels.created_at IS 'When it was written.';

CREATE VIEW dictionaries AS FROM stored.dictionaries;
COMMENT ON VIEW dictionaries IS 'Every dictionary of the store, see stored.dictionaries.';

CREATE VIEW documents AS FROM stored.documents;
COMMENT ON VIEW documents IS 'Every document, see stored.documents.';

CREATE VIEW tokenizers AS FROM stored.tokenizers;
COMMENT ON VIEW tokenizers IS 'Every vocabulary, see stored.tokenizers.';

CREATE VIEW tokens AS FROM stored.tokens;
COMMENT ON VIEW tokens IS 'The tokens of every document in runs of 512, see stored.tokens.';

-- An explainer that speaks again about a feature replaces what it said before.
CREATE VIEW labels AS
    FROM stored.labels
    QUALIFY row_number() OVER (PARTITION BY dictionary, feature, explainer ORDER BY created_at DESC, label) = 1;
COMMENT ON VIEW labels IS 'The newest label of each explainer for each feature, see stored.labels.';

-- The label that is shown: a person's before a language model's before token statistics; the newest of equals.
CREATE VIEW best_labels AS
    SELECT dictionary, feature, best.* FROM (
        SELECT dictionary, feature,
               arg_max({'label': label, 'explainer': explainer, 'prompt': prompt, 'examples': examples,
                        'tool': tool, 'created_at': created_at},
                       {'rank': CASE explainer WHEN 'human' THEN 2 WHEN 'tokens' THEN 0 ELSE 1 END,
                        'at': created_at, 'explainer': explainer, 'label': label}) AS best
        FROM stored.labels GROUP BY dictionary, feature);
COMMENT ON VIEW best_labels IS 'The one label shown for each feature.';

-- DuckDB leaves out a left join with what is grouped by the key, in queries that use no column of it.
CREATE VIEW features AS
    SELECT f.*,
           d.model, d.source, d.layer, d.site, d.kind,
           f.explainer IS NOT NULL AS has_label,  -- as f.label is, and shorter to read
           CASE WHEN f.active_tokens IS NULL THEN 'unharvested'
                WHEN f.active_tokens = 0 THEN 'dead'
                WHEN f.density > 0.2 THEN 'always-on'
                ELSE 'live' END AS state
    FROM (FROM stored.labelled_features
          UNION ALL
          SELECT u.* REPLACE (b.label AS label, b.explainer AS explainer)
          FROM stored.unlabelled_features u
          LEFT JOIN best_labels b ON b.dictionary = u.dictionary AND b.feature = u.feature) f
    LEFT JOIN (SELECT dictionary, any_value(model) AS model, any_value(source) AS source, any_value(layer) AS layer,
                      any_value(site) AS site, any_value(kind) AS kind
               FROM stored.dictionaries GROUP BY dictionary) d ON d.dictionary = f.dictionary;
COMMENT ON VIEW features IS 'Every feature with its dictionary''s model, source, layer, site and kind, its best label, and its state: live, dead, always-on (density above 0.2) or unharvested.';

-- A window lies in one run of 512 tokens, or begins in one and ends in the next.
CREATE VIEW examples AS
    SELECT e.*,
           list_transform((a.tokens || coalesce(b.tokens, []))[e.start % 512 + 1 : e.start % 512 + e.length],
                          lambda t: z.pieces[t + 1]) AS tokens
    FROM stored.examples e
    JOIN stored.documents d ON d.corpus = e.corpus AND d.document = e.document
    JOIN stored.tokenizers z ON z.tokenizer = d.tokenizer
    JOIN stored.tokens a ON a.corpus = e.corpus AND a.document = e.document AND a.run = e.start // 512
    LEFT JOIN stored.tokens b ON b.corpus = e.corpus AND b.document = e.document AND b.run = e.start // 512 + 1;
COMMENT ON VIEW examples IS 'Every example with the text of its tokens; stored.examples is the same without, and quicker.';
