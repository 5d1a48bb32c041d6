-- The tables of a feature store, in DuckDB's DDL. This is the only declaration of their columns.
--
-- Parquet parts have the columns of the tables in schema `stored`. Writers first insert every batch into a scratch copy
-- of its table, so that types, NOT NULL and CHECK are enforced before a part becomes visible.
-- Queries use the views below, in schema `main`. Views with a row for a feature, or several, begin with its id.

CREATE SCHEMA stored;

CREATE TABLE stored.dictionaries (
    dictionary        VARCHAR NOT NULL CHECK (regexp_full_match(dictionary, '[^/\s]+/[^/\s]+')),
    model             VARCHAR NOT NULL,
    source            VARCHAR NOT NULL,
    kind              VARCHAR NOT NULL CHECK (kind IN ('sae', 'transcoder', 'clt', 'vectors')),
    architecture      VARCHAR,
    hook_point        VARCHAR,
    hook_point_out    VARCHAR,
    layer             INTEGER CHECK (layer >= 0),
    site              VARCHAR,
    d_in              INTEGER CHECK (d_in > 0),
    d_out             INTEGER CHECK (d_out > 0),
    d_sae             INTEGER NOT NULL CHECK (d_sae BETWEEN 1 AND 100000000),
    space             VARCHAR,
    origin            VARCHAR CHECK (origin IN ('harvest', 'weights', 'import')),
    import_format     VARCHAR,
    import_location   VARCHAR,
    import_tool       VARCHAR,
    model_location    VARCHAR,
    model_hash        VARCHAR,
    weights_location  VARCHAR,
    weights_hash      VARCHAR,
    neuronpedia_id    VARCHAR CHECK (regexp_full_match(neuronpedia_id, '[^/\s]+/[^/\s]+')),
    tokenizer         VARCHAR,
    corpus            VARCHAR,
    dataset           VARCHAR,
    prompts           BIGINT CHECK (prompts >= 0),
    context_size      INTEGER CHECK (context_size > 0),
    tokens_counted    BIGINT CHECK (tokens_counted >= 0),
    tokens_excluded   BIGINT CHECK (tokens_excluded >= 0),
    histogram_scale   INTEGER CHECK (histogram_scale BETWEEN -1000 AND 1000),
    decimals          INTEGER CHECK (decimals BETWEEN 0 AND 20),
    settings          VARCHAR,
    tool              VARCHAR NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (dictionary),
    CHECK (dictionary = model || '/' || source));
COMMENT ON TABLE  stored.dictionaries IS
    'The features of one trained SAE or transcoder at one hook point of one model, or any set of named vectors.';
COMMENT ON COLUMN stored.dictionaries.dictionary IS 'Its id, model/source, such as gpt2-small/8-res-jb.';
COMMENT ON COLUMN stored.dictionaries.model IS 'The language model, the part of the id before the slash.';
COMMENT ON COLUMN stored.dictionaries.source IS 'The part of the id after the slash.';
COMMENT ON COLUMN stored.dictionaries.kind IS
    'sae (reads and writes one place), transcoder (reads one place, writes another), clt, or vectors: directions such '
    'as probes and steering vectors.';
COMMENT ON COLUMN stored.dictionaries.architecture IS 
    'Its kind of encoder: standard, gated, jumprelu, topk, ...; null if not known.';
COMMENT ON COLUMN stored.dictionaries.hook_point IS
    'Where activations are read, in TransformerLens''s names, such as blocks.8.hook_resid_pre; null if not known.';
COMMENT ON COLUMN stored.dictionaries.hook_point_out IS 'Where a transcoder''s output is added; null for an SAE.';
COMMENT ON COLUMN stored.dictionaries.layer IS 'The layer of hook_point, from 0.';
COMMENT ON COLUMN stored.dictionaries.site IS
    'What is read there: resid_pre, resid_post, mlp_in, mlp_out, attn_out, hook_z, ...';
COMMENT ON COLUMN stored.dictionaries.d_in IS 'Width of its input; null if not known.';
COMMENT ON COLUMN stored.dictionaries.d_out IS
    'Width of its output: the length of a decoder vector; null if not known, and then it has no vectors.';
COMMENT ON COLUMN stored.dictionaries.d_sae IS 'Number of features; feature runs from 0 to d_sae - 1.';
COMMENT ON COLUMN stored.dictionaries.space IS
    'The coordinate system of its decoder vectors; vectors of one space can be compared. '
    'For a residual stream it is the model''s id. Null if not known.';
COMMENT ON COLUMN stored.dictionaries.origin IS
    'Where its statistics and examples come from: harvest, weights (it has none), or import; null if not said.';
COMMENT ON COLUMN stored.dictionaries.import_format IS 'Format of the files it was imported from.';
COMMENT ON COLUMN stored.dictionaries.import_location IS 'Those files: a path or an address.';
COMMENT ON COLUMN stored.dictionaries.import_tool IS 'Name and version of the program that wrote those files.';
COMMENT ON COLUMN stored.dictionaries.model_location IS 'Directory or hub reference the model was loaded from.';
COMMENT ON COLUMN stored.dictionaries.model_hash IS 'sha256 of the model''s weights, first 16 hex digits.';
COMMENT ON COLUMN stored.dictionaries.weights_location IS
    'Directory or hub reference the dictionary''s weights were loaded from.';
COMMENT ON COLUMN stored.dictionaries.weights_hash IS 'sha256 of the dictionary''s weights, first 16 hex digits.';
COMMENT ON COLUMN stored.dictionaries.neuronpedia_id IS
    'Its model/source on Neuronpedia, as the weights or the imported files say; null if they do not.';
COMMENT ON COLUMN stored.dictionaries.tokenizer IS 'Id of the model''s tokenizer, see stored.tokenizers.';
COMMENT ON COLUMN stored.dictionaries.corpus IS
    'Id of the harvested corpus, see stored.documents; null if only weights were read.';
COMMENT ON COLUMN stored.dictionaries.dataset IS
    'Name of the data set that the corpus is of, such as Skylion007/openwebtext.';
COMMENT ON COLUMN stored.dictionaries.prompts IS 'Number of its texts that the model saw.';
COMMENT ON COLUMN stored.dictionaries.context_size IS
    'Number of tokens the model saw at once, including the leading BOS.';
COMMENT ON COLUMN stored.dictionaries.tokens_counted IS 'Number of counted tokens, the denominator of every density.';
COMMENT ON COLUMN stored.dictionaries.tokens_excluded IS
    'Number of tokens that the model saw and that are not counted: BOS and padding.';
COMMENT ON COLUMN stored.dictionaries.histogram_scale IS
    'The 64 bins of features.histogram count |activation| / 2^histogram_scale; null is 0.';
COMMENT ON COLUMN stored.dictionaries.decimals IS
    'Number of decimals that its activations were rounded to before the store got them; null if they were not.';
COMMENT ON COLUMN stored.dictionaries.settings IS 'The harvest''s settings, as JSON.';
COMMENT ON COLUMN stored.dictionaries.tool IS 'Name and version of the program that wrote the dictionary.';
COMMENT ON COLUMN stored.dictionaries.created_at IS 'When it was written.';

-- Whether a histogram has the bins it says: `standard` of them, or those of its edges. Edges ascend. Two edges stand
-- for bins of equal width between them.
CREATE MACRO stored.are_bins(counts, edges, standard) AS
    CASE WHEN counts IS NULL THEN edges IS NULL
         WHEN edges IS NULL THEN len(counts) = standard
         ELSE len(edges) IN (2, len(counts) + 1) AND len(edges) > 1 AND list_count(edges) = len(edges)
              AND list_unique(edges) = len(edges) AND list_sort(edges) = edges
              AND isfinite(edges[1]) AND isfinite(edges[-1])
    END AND coalesce(list_min(counts) >= 0 AND list_count(counts) = len(counts), true);

CREATE TABLE stored.features (
    dictionary             VARCHAR NOT NULL,
    feature                INTEGER NOT NULL CHECK (feature >= 0),
    density                DOUBLE  CHECK (density BETWEEN 0 AND 1),
    active_tokens          BIGINT  CHECK (active_tokens >= 0),
    active_contexts        BIGINT  CHECK (active_contexts >= 0),
    mean_activation        FLOAT   CHECK (isfinite(mean_activation)),
    std_activation         FLOAT   CHECK (isfinite(std_activation)),
    max_activation         FLOAT   CHECK (isfinite(max_activation)),
    first_active           BIGINT  CHECK (first_active >= 0),
    last_active            BIGINT  CHECK (last_active >= first_active),
    first_token_share      FLOAT   CHECK (first_token_share BETWEEN 0 AND 1),
    after_break_share      FLOAT   CHECK (after_break_share BETWEEN 0 AND 1),
    top_token_share        FLOAT   CHECK (top_token_share BETWEEN 0 AND 1),
    distinct_tokens        BIGINT  CHECK (distinct_tokens >= 0),
    histogram              BIGINT[],
    histogram_edges        DOUBLE[],
    coactive               STRUCT(feature INTEGER, jaccard FLOAT)[],
    decoder_norm           FLOAT   CHECK (isfinite(decoder_norm)),
    encoder_norm           FLOAT   CHECK (isfinite(encoder_norm)),
    encoder_decoder_cosine FLOAT   CHECK (isfinite(encoder_decoder_cosine)),
    top_logits             STRUCT(token VARCHAR, value FLOAT, id INTEGER)[],
    bottom_logits          STRUCT(token VARCHAR, value FLOAT, id INTEGER)[],
    logit_mean             FLOAT   CHECK (isfinite(logit_mean)),
    logit_std              FLOAT   CHECK (isfinite(logit_std)),
    logit_skewness         FLOAT   CHECK (isfinite(logit_skewness)),
    logit_kurtosis         FLOAT   CHECK (isfinite(logit_kurtosis)),
    logit_histogram        INTEGER[],
    logit_histogram_edges  DOUBLE[],
    extra                  VARCHAR,
    label                  VARCHAR,
    explainer              VARCHAR,
    PRIMARY KEY (dictionary, feature),
    CHECK (json_valid(extra)),
    CHECK (stored.are_bins(histogram, histogram_edges, 64)),
    CHECK (stored.are_bins(logit_histogram, logit_histogram_edges, 40)));
COMMENT ON TABLE  stored.features IS
    'One row for each feature: how often and how strongly it fires, and what it writes.';
COMMENT ON COLUMN stored.features.dictionary IS 'The dictionary it belongs to.';
COMMENT ON COLUMN stored.features.feature IS 'Its index in the dictionary, from 0.';
COMMENT ON COLUMN stored.features.density IS
    'Fraction of counted tokens on which the activation is not zero; null if not known.';
COMMENT ON COLUMN stored.features.active_tokens IS
    'Number of counted tokens on which the activation is not zero; null if not known.';
COMMENT ON COLUMN stored.features.active_contexts IS 'Number of contexts with at least one such token.';
COMMENT ON COLUMN stored.features.mean_activation IS 'Mean over active tokens; null for a dead feature.';
COMMENT ON COLUMN stored.features.std_activation IS
    'Standard deviation (population) over active tokens; null for a dead feature.';
COMMENT ON COLUMN stored.features.max_activation IS
    'Activation largest by magnitude, with its sign; null for a dead feature.';
COMMENT ON COLUMN stored.features.first_active IS
    'Position of its first active token in the corpus, counted from 0 over all documents; null for a dead feature.';
COMMENT ON COLUMN stored.features.last_active IS
    'Position of its last active token in the corpus; null for a dead feature.';
COMMENT ON COLUMN stored.features.first_token_share IS
    'Share of its active tokens that are the first counted token of a context.';
COMMENT ON COLUMN stored.features.after_break_share IS
    'Share of its active tokens that follow the end of a line or of a sentence.';
COMMENT ON COLUMN stored.features.top_token_share IS
    'Share of its active tokens that are the token on which it fires most often.';
COMMENT ON COLUMN stored.features.distinct_tokens IS 'Number of different tokens on which it fires.';
COMMENT ON COLUMN stored.features.histogram IS
    'Active tokens by |activation|, 64 bins: bin b is [2^(b/4 - 6), 2^((b+1)/4 - 6)), times 2^histogram_scale of the '
    'dictionary; the end bins hold the rest. With histogram_edges, bins between these.';
COMMENT ON COLUMN stored.features.histogram_edges IS
    'Edges of the bins of histogram where they are not the 64: ascending, one more than bins, or two for bins of equal '
    'width between them.';
COMMENT ON COLUMN stored.features.coactive IS
    'Features that fire most on the same tokens: tokens with both / tokens with either, on a sample; best first.';
COMMENT ON COLUMN stored.features.decoder_norm IS 'L2 norm of the decoder vector.';
COMMENT ON COLUMN stored.features.encoder_norm IS 'L2 norm of the encoder vector.';
COMMENT ON COLUMN stored.features.encoder_decoder_cosine IS
    'Cosine of encoder and decoder vector; null if their widths differ or one is zero.';
COMMENT ON COLUMN stored.features.top_logits IS
    'Tokens whose logits the decoder vector raises most, strongest first: text, effect, and token id if known.';
COMMENT ON COLUMN stored.features.bottom_logits IS 'Tokens whose logits it lowers most, strongest first.';
COMMENT ON COLUMN stored.features.logit_mean IS 'Mean of its effects on the logits of all tokens.';
COMMENT ON COLUMN stored.features.logit_std IS 'Their standard deviation (population).';
COMMENT ON COLUMN stored.features.logit_skewness IS 'Their third standardised moment; null if all are equal.';
COMMENT ON COLUMN stored.features.logit_kurtosis IS
    'Their fourth standardised moment, 3 for a normal distribution; null if all are equal.';
COMMENT ON COLUMN stored.features.logit_histogram IS
    'Tokens by effect: 40 bins of equal width from the lowest to the highest effect, or bins of logit_histogram_edges.';
COMMENT ON COLUMN stored.features.logit_histogram_edges IS
    'Edges of the bins of logit_histogram where they are not these, as in histogram_edges.';
COMMENT ON COLUMN stored.features.extra IS
    'What the files it was imported from say beyond these columns, as JSON.';
COMMENT ON COLUMN stored.features.label IS
    'A copy of the best label, made by `featurestore compact`; the view features shows the current one.';
COMMENT ON COLUMN stored.features.explainer IS 'The explainer of that label.';

-- Parts of stored.features either hold a current copy of the best labels or do not.
-- When a store is opened, views over the two kinds of parts replace these views.
CREATE VIEW stored.labelled_features AS FROM stored.features WHERE false;
COMMENT ON VIEW stored.labelled_features IS 'Features whose copied label is still the best one.';
CREATE VIEW stored.unlabelled_features AS FROM stored.features;
COMMENT ON VIEW stored.unlabelled_features IS 'Features whose best label must be looked up.';

CREATE TABLE stored.examples (
    dictionary   VARCHAR   NOT NULL,
    feature      INTEGER   NOT NULL CHECK (feature >= 0),
    band         VARCHAR   NOT NULL,
    band_low     FLOAT,
    band_high    FLOAT,
    rank         INTEGER   NOT NULL CHECK (rank >= 0),
    weight       FLOAT     CHECK (weight >= 1),
    band_share   FLOAT     CHECK (band_share BETWEEN 0 AND 1),
    repeated     BOOLEAN,
    corpus       VARCHAR   NOT NULL,
    document     INTEGER   NOT NULL CHECK (document >= 0),
    start        INTEGER   NOT NULL CHECK (start >= 0),
    length       INTEGER   NOT NULL CHECK (length BETWEEN 1 AND 512),
    position     INTEGER,
    activation   FLOAT     NOT NULL CHECK (isfinite(activation)),
    offsets      USMALLINT[] NOT NULL,
    activations  FLOAT[]   NOT NULL,
    extra        VARCHAR,
    CHECK (json_valid(extra)),
    CHECK (position BETWEEN start AND start + length - 1),
    CHECK (len(offsets) = len(activations)));
COMMENT ON TABLE  stored.examples IS
    'Windows of tokens around activations. They refer to tokens by document, start and length.';
COMMENT ON COLUMN stored.examples.dictionary IS 'The dictionary of the feature.';
COMMENT ON COLUMN stored.examples.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.examples.band IS
    'Why it was kept: top, or the activation interval it was sampled from, such as [1, 2); or as an import names it.';
COMMENT ON COLUMN stored.examples.band_low IS 'Lower end of that interval, 0 for the lowest interval; null for top.';
COMMENT ON COLUMN stored.examples.band_high IS
    'Upper end, not included; null for top, and for the highest interval, which is open.';
COMMENT ON COLUMN stored.examples.rank IS 'Rank within its band; 0 is the strongest.';
COMMENT ON COLUMN stored.examples.weight IS
    'Number of active tokens of the band that one sampled example stands for; null for top, and if not known.';
COMMENT ON COLUMN stored.examples.band_share IS
    'Share of the active tokens that are in its band, as the files it was imported from state it.';
COMMENT ON COLUMN stored.examples.repeated IS
    'Whether those files mark its text as one that occurs in other examples of the feature; null if they do not say.';
COMMENT ON COLUMN stored.examples.corpus IS 'The corpus of the window.';
COMMENT ON COLUMN stored.examples.document IS 'The window''s document in the corpus.';
COMMENT ON COLUMN stored.examples.start IS 'Position of the window''s first token in the document.';
COMMENT ON COLUMN stored.examples.length IS 'Number of tokens in the window, at most 512.';
COMMENT ON COLUMN stored.examples.position IS
    'Position in the document of the token for which the example was kept; null if not known, or in a silent window.';
COMMENT ON COLUMN stored.examples.activation IS 'Activation on that token; 0 in a silent window.';
COMMENT ON COLUMN stored.examples.offsets IS
    'Positions in the window, from 0, of the tokens with a non-zero activation; ascending.';
COMMENT ON COLUMN stored.examples.activations IS 'Their activations.';
COMMENT ON COLUMN stored.examples.extra IS 'What an import''s files say beyond these columns, as JSON.';

CREATE TABLE stored.contexts (
    dictionary   VARCHAR   NOT NULL,
    context      INTEGER   NOT NULL CHECK (context >= 0),
    corpus       VARCHAR   NOT NULL,
    document     INTEGER   NOT NULL CHECK (document >= 0),
    start        INTEGER   NOT NULL CHECK (start >= 0),
    length       INTEGER   NOT NULL CHECK (length BETWEEN 1 AND 512),
    features     INTEGER[] NOT NULL,
    peaks        FLOAT[]   NOT NULL,
    PRIMARY KEY (dictionary, context),
    CHECK (len(features) = len(peaks)));
COMMENT ON TABLE  stored.contexts IS
    'Windows drawn at random from the corpus, with every feature that fires in them; all others are silent there.';
COMMENT ON COLUMN stored.contexts.dictionary IS 'The dictionary of the features.';
COMMENT ON COLUMN stored.contexts.context IS 'Number of the window, from 0.';
COMMENT ON COLUMN stored.contexts.corpus IS 'The corpus of the window.';
COMMENT ON COLUMN stored.contexts.document IS 'The window''s document in the corpus.';
COMMENT ON COLUMN stored.contexts.start IS 'Position of the window''s first token in the document.';
COMMENT ON COLUMN stored.contexts.length IS 'Number of tokens in the window.';
COMMENT ON COLUMN stored.contexts.features IS 'Every feature with a non-zero activation in the window, ascending.';
COMMENT ON COLUMN stored.contexts.peaks IS 'The strongest activation of each of these features in the window.';

CREATE TABLE stored.tokenizers (
    tokenizer    VARCHAR NOT NULL,
    pieces       VARCHAR[] NOT NULL,
    bytes        BLOB[] NOT NULL,
    collected    BOOLEAN,
    PRIMARY KEY (tokenizer));
COMMENT ON TABLE  stored.tokenizers IS 'Vocabularies, one row each.';
COMMENT ON COLUMN stored.tokenizers.tokenizer IS 'Its id: first 16 hex digits of the sha256 of its tokens'' bytes.';
COMMENT ON COLUMN stored.tokenizers.pieces IS
    'Text of each token id; bytes that form no character are shown as U+FFFD.';
COMMENT ON COLUMN stored.tokenizers.bytes IS
    'UTF-8 bytes of each token id, so that characters split over several tokens can be joined again.';
COMMENT ON COLUMN stored.tokenizers.collected IS
    'True if its tokens were collected from texts without token ids: the ids are the store''s, not a model''s.';

CREATE TABLE stored.documents (
    corpus       VARCHAR NOT NULL,
    document     INTEGER NOT NULL CHECK (document >= 0),
    name         VARCHAR,
    tokenizer    VARCHAR NOT NULL,
    length       INTEGER NOT NULL CHECK (length > 0),
    held_out     BOOLEAN NOT NULL,
    excerpt      BOOLEAN NOT NULL,
    PRIMARY KEY (corpus, document));
COMMENT ON TABLE  stored.documents IS 'The harvested texts, and the windows of imported examples.';
COMMENT ON COLUMN stored.documents.corpus IS
    'Id of the corpus: first 16 hex digits of the sha256 of its tokenizer, names and tokens.';
COMMENT ON COLUMN stored.documents.document IS 'Number of the document in it, from 0.';
COMMENT ON COLUMN stored.documents.name IS 'File name, or another name.';
COMMENT ON COLUMN stored.documents.tokenizer IS 'Id of the tokenizer of its tokens.';
COMMENT ON COLUMN stored.documents.length IS 'Number of its tokens, without BOS.';
COMMENT ON COLUMN stored.documents.held_out IS
    'Whether explainers never see its examples, so that labels can be scored on them; by the hash of its tokens. '
    'No excerpt is.';
COMMENT ON COLUMN stored.documents.excerpt IS
    'Whether it is a window that another tool cut out of a text, and not a whole text.';

CREATE TABLE stored.tokens (
    corpus       VARCHAR NOT NULL,
    document     INTEGER NOT NULL CHECK (document >= 0),
    run          INTEGER NOT NULL CHECK (run >= 0),
    tokens       INTEGER[] NOT NULL CHECK (len(tokens) BETWEEN 1 AND 512),
    PRIMARY KEY (corpus, document, run));
COMMENT ON TABLE  stored.tokens IS 'The documents, tokenised once, in runs of 512 tokens.';
COMMENT ON COLUMN stored.tokens.corpus IS 'The corpus.';
COMMENT ON COLUMN stored.tokens.document IS 'The document in it.';
COMMENT ON COLUMN stored.tokens.run IS 'Number of the run in the document; it begins at token 512 * run.';
COMMENT ON COLUMN stored.tokens.tokens IS 'Token ids without BOS: 512 of them, fewer in the last run.';

CREATE TABLE stored.labels (
    dictionary   VARCHAR NOT NULL,
    feature      INTEGER NOT NULL CHECK (feature >= 0),
    label        VARCHAR NOT NULL CHECK (length(trim(label)) > 0),
    explainer    VARCHAR NOT NULL CHECK (length(trim(explainer)) > 0),
    prompt       VARCHAR,
    examples     INTEGER CHECK (examples >= 0),
    tokens_in    BIGINT  CHECK (tokens_in >= 0),
    tokens_out   BIGINT  CHECK (tokens_out >= 0),
    money        DOUBLE  CHECK (money >= 0),
    imported     BOOLEAN,
    removed      BOOLEAN,
    tool         VARCHAR NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE  stored.labels IS 'Texts that say what a feature means; a feature can have many.';
COMMENT ON COLUMN stored.labels.dictionary IS 'The dictionary of the feature.';
COMMENT ON COLUMN stored.labels.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.labels.label IS 'The text.';
COMMENT ON COLUMN stored.labels.explainer IS
    'Who wrote it: tokens (token statistics), human or human:NAME, or the name of the language model.';
COMMENT ON COLUMN stored.labels.prompt IS 'Name and version of the prompt or method, such as pairs/1.';
COMMENT ON COLUMN stored.labels.examples IS 'Number of examples that the explainer saw.';
COMMENT ON COLUMN stored.labels.tokens_in IS 'Number of tokens in the prompts; null if they were not counted.';
COMMENT ON COLUMN stored.labels.tokens_out IS 'Number of tokens in the replies.';
COMMENT ON COLUMN stored.labels.money IS 'Cost of the prompts and replies, if prices were given.';
COMMENT ON COLUMN stored.labels.imported IS 'True if it was made elsewhere and imported.';
COMMENT ON COLUMN stored.labels.removed IS
    'True for a row that takes the label of this explainer back: the views labels and best_labels leave it out.';
COMMENT ON COLUMN stored.labels.tool IS 'Name and version of the program that wrote it.';
COMMENT ON COLUMN stored.labels.created_at IS 'When it was written.';

CREATE TABLE stored.votes (
    dictionary   VARCHAR NOT NULL,
    feature      INTEGER NOT NULL CHECK (feature >= 0),
    label        VARCHAR NOT NULL CHECK (length(trim(label)) > 0),
    vote         TINYINT NOT NULL CHECK (vote IN (-1, 0, 1)),
    voter        VARCHAR NOT NULL CHECK (length(trim(voter)) > 0),
    tool         VARCHAR NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE  stored.votes IS
    'What people think of labels. A second vote by the same voter on a label replaces the first.';
COMMENT ON COLUMN stored.votes.dictionary IS 'The dictionary of the feature.';
COMMENT ON COLUMN stored.votes.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.votes.label IS 'The text of the label, whoever wrote it.';
COMMENT ON COLUMN stored.votes.vote IS '1 for the label, -1 against it, 0 to withdraw the vote.';
COMMENT ON COLUMN stored.votes.voter IS 'Name of the person who votes.';
COMMENT ON COLUMN stored.votes.tool IS 'Name and version of the program that wrote it.';
COMMENT ON COLUMN stored.votes.created_at IS 'When it was written.';

CREATE TABLE stored.scores (
    dictionary   VARCHAR NOT NULL,
    feature      INTEGER NOT NULL CHECK (feature >= 0),
    label        VARCHAR NOT NULL CHECK (length(trim(label)) > 0),
    explainer    VARCHAR NOT NULL CHECK (length(trim(explainer)) > 0),
    method       VARCHAR NOT NULL CHECK (length(trim(method)) > 0),
    negatives    VARCHAR,
    value        DOUBLE  CHECK (value BETWEEN -1 AND 1),
    low          DOUBLE  CHECK (low BETWEEN -1 AND 1),
    high         DOUBLE  CHECK (high BETWEEN -1 AND 1),
    baseline     DOUBLE  CHECK (baseline BETWEEN -1 AND 1),
    auc          DOUBLE  CHECK (auc BETWEEN 0 AND 1),
    n            INTEGER NOT NULL CHECK (n >= 0),
    failures     INTEGER NOT NULL CHECK (failures >= 0),
    judge        VARCHAR NOT NULL CHECK (length(trim(judge)) > 0),
    prompt       VARCHAR,
    examples     VARCHAR,
    sampled      BOOLEAN NOT NULL,
    stopped      BOOLEAN NOT NULL,
    tokens_in    BIGINT  CHECK (tokens_in >= 0),
    tokens_out   BIGINT  CHECK (tokens_out >= 0),
    money        DOUBLE  CHECK (money >= 0),
    tool         VARCHAR NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    CHECK ((value IS NULL) = (low IS NULL) AND (low IS NULL) = (high IS NULL) AND low <= high),
    CHECK (n > 0 OR value IS NULL));
COMMENT ON TABLE  stored.scores IS
    'How well labels predict on which texts their features fire. Failures of the judge are counted, never scored.';
COMMENT ON COLUMN stored.scores.dictionary IS 'The dictionary of the feature.';
COMMENT ON COLUMN stored.scores.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.scores.label IS 'The text that was scored.';
COMMENT ON COLUMN stored.scores.explainer IS 'The explainer of that label.';
COMMENT ON COLUMN stored.scores.method IS
    'detection, fuzzing, intruder, simulation or embedding (docs/scoring.md), or the name of an imported method.';
COMMENT ON COLUMN stored.scores.negatives IS
    'Kind of negatives: random (texts of other features) or hard (texts of decoder neighbours, where it is silent).';
COMMENT ON COLUMN stored.scores.value IS
    'Balanced accuracy (detection, fuzzing), share right (intruder), correlation (simulation), AUC (embedding); '
    'null if nothing could be judged.';
COMMENT ON COLUMN stored.scores.low IS 'Lower end of the 95 % confidence interval of value.';
COMMENT ON COLUMN stored.scores.high IS 'Upper end of that interval.';
COMMENT ON COLUMN stored.scores.baseline IS
    'Mean value for a judge that does not look: 0.5, 0.25 (intruder) or 0 (simulation).';
COMMENT ON COLUMN stored.scores.auc IS 'Area under the ROC curve of the judge''s probabilities, if it gave any.';
COMMENT ON COLUMN stored.scores.n IS 'Number of judgements in the value: texts, or groups of texts for intruder.';
COMMENT ON COLUMN stored.scores.failures IS
    'Number of judgements that were requested but not readable; they are not in n.';
COMMENT ON COLUMN stored.scores.judge IS 'The language model, or the embedder, that judged.';
COMMENT ON COLUMN stored.scores.prompt IS
    'Name and version of the judge''s prompt, such as detection/1; null without one.';
COMMENT ON COLUMN stored.scores.examples IS
    'Which examples: held-out (of documents no explainer sees) or unseen (those not shown to the explainer).';
COMMENT ON COLUMN stored.scores.sampled IS
    'Whether the feature was drawn at random, so that the score counts in the figure for its dictionary.';
COMMENT ON COLUMN stored.scores.stopped IS
    'Whether judging ended early because the interval was on one side of the threshold; the interval allows for it.';
COMMENT ON COLUMN stored.scores.tokens_in IS
    'Number of tokens in the prompts; judgements that count in two scores give half to each.';
COMMENT ON COLUMN stored.scores.tokens_out IS 'Number of tokens in the replies.';
COMMENT ON COLUMN stored.scores.money IS 'Cost of the prompts and replies, if prices were given.';
COMMENT ON COLUMN stored.scores.tool IS 'Name and version of the program that wrote it.';
COMMENT ON COLUMN stored.scores.created_at IS 'When it was written.';

CREATE TABLE stored.graphs (
    graph          VARCHAR NOT NULL CHECK (regexp_full_match(graph, '[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}')),
    scan           VARCHAR NOT NULL,
    prompt         VARCHAR NOT NULL,
    prompt_tokens  VARCHAR[] NOT NULL,
    schema_version INTEGER NOT NULL CHECK (schema_version IN (0, 1)),
    node_threshold DOUBLE  CHECK (isfinite(node_threshold)),
    nodes          INTEGER NOT NULL CHECK (nodes >= 0),
    features       INTEGER NOT NULL CHECK (features BETWEEN 0 AND nodes),
    links          INTEGER NOT NULL CHECK (links >= 0),
    notes          VARCHAR[] NOT NULL,
    note_codes     VARCHAR,
    document       VARCHAR NOT NULL,
    tool           VARCHAR NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (graph));
COMMENT ON TABLE  stored.graphs IS
    'Attribution graphs: which features, tokens and errors led a model to its next token on one prompt.';
COMMENT ON COLUMN stored.graphs.graph IS 'Its name, the slug of its file.';
COMMENT ON COLUMN stored.graphs.scan IS
    'The dictionaries it was made with, as its file names them: a model''s id, or a reference on the hub.';
COMMENT ON COLUMN stored.graphs.prompt IS 'Text of the prompt.';
COMMENT ON COLUMN stored.graphs.prompt_tokens IS 'Tokens of the prompt.';
COMMENT ON COLUMN stored.graphs.schema_version IS
    'Version of its file: 1 has features as Cantor pairs of layer and index, 0 as numbers of the tool.';
COMMENT ON COLUMN stored.graphs.node_threshold IS 'Share of the influence to show at first, if the file states it.';
COMMENT ON COLUMN stored.graphs.nodes IS 'Number of nodes.';
COMMENT ON COLUMN stored.graphs.features IS 'Number of nodes that are features.';
COMMENT ON COLUMN stored.graphs.links IS 'Number of links.';
COMMENT ON COLUMN stored.graphs.notes IS 'Problems found while its file was read.';
COMMENT ON COLUMN stored.graphs.note_codes IS
    'The notes for programs, as JSON: a code and its numbers for each. Null in stores of earlier versions.';
COMMENT ON COLUMN stored.graphs.document IS 'Its file without nodes and links, as JSON.';
COMMENT ON COLUMN stored.graphs.tool IS 'Name and version of the program that wrote it.';
COMMENT ON COLUMN stored.graphs.created_at IS 'When it was written.';

CREATE TABLE stored.graph_nodes (
    graph        VARCHAR NOT NULL,
    node         INTEGER NOT NULL CHECK (node >= 0),
    node_id      VARCHAR NOT NULL,
    kind         VARCHAR NOT NULL CHECK (kind IN ('feature', 'error', 'token', 'logit', 'other')),
    feature_type VARCHAR NOT NULL,
    layer        INTEGER CHECK (layer >= 0),
    position     INTEGER NOT NULL CHECK (position >= 0),
    dictionary   VARCHAR CHECK (regexp_full_match(dictionary, '[^/\s]+/[^/\s]+')),
    feature      INTEGER CHECK (feature >= 0),
    token        BIGINT,
    activation   DOUBLE  CHECK (isfinite(activation)),
    influence    DOUBLE  CHECK (isfinite(influence)),
    token_prob   DOUBLE  CHECK (isfinite(token_prob)),
    is_target    BOOLEAN NOT NULL,
    clerp        VARCHAR NOT NULL,
    said         VARCHAR NOT NULL,
    PRIMARY KEY (graph, node),
    CHECK (kind = 'feature' OR feature IS NULL AND dictionary IS NULL));
COMMENT ON TABLE  stored.graph_nodes IS 'The nodes of attribution graphs.';
COMMENT ON COLUMN stored.graph_nodes.graph IS 'The graph.';
COMMENT ON COLUMN stored.graph_nodes.node IS 'Number of the node in the graph, from 0, in the order of its file.';
COMMENT ON COLUMN stored.graph_nodes.node_id IS
    'Its id in the file. An error and a feature of layer 0 may have the same id.';
COMMENT ON COLUMN stored.graph_nodes.kind IS
    'feature, error (what the dictionaries leave of a layer), token (of the prompt), logit (a next token) or other.';
COMMENT ON COLUMN stored.graph_nodes.feature_type IS 'Its kind as the file writes it; decides kind.';
COMMENT ON COLUMN stored.graph_nodes.layer IS
    'Layer of a feature or an error; for a logit, one more than the last layer.';
COMMENT ON COLUMN stored.graph_nodes.position IS 'Position of its token in the prompt, from 0.';
COMMENT ON COLUMN stored.graph_nodes.dictionary IS
    'Dictionary of a feature, whether the store has it or not; null if neither file nor import named one.';
COMMENT ON COLUMN stored.graph_nodes.feature IS
    'Index of the feature in its dictionary; null if the file''s number is not an index.';
COMMENT ON COLUMN stored.graph_nodes.token IS
    'Token id of a token or logit; outside the vocabulary for a made-up target.';
COMMENT ON COLUMN stored.graph_nodes.activation IS 'Activation of the feature at this position.';
COMMENT ON COLUMN stored.graph_nodes.influence IS
    'Share of the influence on the logits that this node and stronger nodes have.';
COMMENT ON COLUMN stored.graph_nodes.token_prob IS 'Probability of a logit.';
COMMENT ON COLUMN stored.graph_nodes.is_target IS 'Whether a logit is the one to explain.';
COMMENT ON COLUMN stored.graph_nodes.clerp IS 'Text for people in the file; often empty.';
COMMENT ON COLUMN stored.graph_nodes.said IS 'The node as it is in its file, as JSON.';

CREATE TABLE stored.graph_links (
    graph        VARCHAR NOT NULL,
    source       INTEGER NOT NULL CHECK (source >= 0),
    target       INTEGER NOT NULL CHECK (target >= 0),
    weight       DOUBLE  NOT NULL CHECK (isfinite(weight)));
COMMENT ON TABLE  stored.graph_links IS 'The links of attribution graphs: the direct effect of one node on another.';
COMMENT ON COLUMN stored.graph_links.graph IS 'The graph.';
COMMENT ON COLUMN stored.graph_links.source IS 'Number of the node where it starts.';
COMMENT ON COLUMN stored.graph_links.target IS 'Number of the node where it ends.';
COMMENT ON COLUMN stored.graph_links.weight IS 'The effect; below 0 if the source suppresses the target.';

CREATE TABLE stored.lists (
    list       VARCHAR NOT NULL CHECK (regexp_full_match(list, '[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}')),
    note       VARCHAR,
    features   STRUCT(dictionary VARCHAR, feature INTEGER, note VARCHAR)[] NOT NULL,
    tool       VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (list),
    CHECK (len(features) = list_count(features)));
COMMENT ON TABLE  stored.lists IS 'Lists of features that people keep; searches take one by name, as in among=@name.';
COMMENT ON COLUMN stored.lists.list IS 'Its name.';
COMMENT ON COLUMN stored.lists.note IS 'What it is about, in its owner''s words.';
COMMENT ON COLUMN stored.lists.features IS
    'Its features in order, each with a note or null; the store may lack some of them.';
COMMENT ON COLUMN stored.lists.tool IS 'Name and version of the program that wrote it last.';
COMMENT ON COLUMN stored.lists.created_at IS 'When it was first written.';
COMMENT ON COLUMN stored.lists.changed_at IS 'When it was last changed.';

CREATE TABLE stored.map_points (
    dictionary VARCHAR NOT NULL,
    feature    INTEGER NOT NULL CHECK (feature >= 0),
    x          FLOAT   NOT NULL CHECK (x BETWEEN -1 AND 1),
    y          FLOAT   NOT NULL CHECK (y BETWEEN -1 AND 1),
    PRIMARY KEY (dictionary, feature));
COMMENT ON TABLE  stored.map_points IS
    'A map of each dictionary, made by `featurestore index --map`: features of near decoder vectors are near in it.';
COMMENT ON COLUMN stored.map_points.dictionary IS 'The dictionary.';
COMMENT ON COLUMN stored.map_points.feature IS 'The feature''s index in it.';
COMMENT ON COLUMN stored.map_points.x IS 'Its place from left to right.';
COMMENT ON COLUMN stored.map_points.y IS 'Its place from top to bottom.';

CREATE VIEW dictionaries AS FROM stored.dictionaries;
COMMENT ON VIEW dictionaries IS 'Every dictionary of the store, see stored.dictionaries.';

CREATE VIEW contexts AS FROM stored.contexts;
COMMENT ON VIEW contexts IS 'Windows drawn at random with all features that fire in them, see stored.contexts.';

CREATE VIEW documents AS FROM stored.documents;
COMMENT ON VIEW documents IS 'Every document, see stored.documents.';

CREATE VIEW tokenizers AS FROM stored.tokenizers;
COMMENT ON VIEW tokenizers IS 'Every vocabulary, see stored.tokenizers.';

CREATE VIEW tokens AS FROM stored.tokens;
COMMENT ON VIEW tokens IS 'The tokens of every document in runs of 512, see stored.tokens.';

CREATE VIEW graphs AS SELECT * EXCLUDE (document, note_codes) FROM stored.graphs;
COMMENT ON VIEW graphs IS 'Every attribution graph, see stored.graphs.';

CREATE VIEW graph_nodes AS
    SELECT n.dictionary || '/' || n.feature AS id, n.* EXCLUDE (said), coalesce(n.feature < d.d_sae, false) AS in_store
    FROM stored.graph_nodes n
    LEFT JOIN (SELECT dictionary, any_value(d_sae) AS d_sae FROM stored.dictionaries GROUP BY dictionary) d
        ON d.dictionary = n.dictionary;
COMMENT ON VIEW graph_nodes IS
    'Every node of every graph, and whether it is a feature that the store has; see stored.graph_nodes.';
COMMENT ON COLUMN graph_nodes.id IS 'Of a feature its id, model/source/index; null without a dictionary.';

CREATE VIEW graph_links AS FROM stored.graph_links;
COMMENT ON VIEW graph_links IS 'Every link of every graph, between numbers of nodes; see stored.graph_links.';

CREATE VIEW map_points AS SELECT dictionary || '/' || feature AS id, * FROM stored.map_points;
COMMENT ON VIEW map_points IS 'Where the maps of dictionaries have each feature, see stored.map_points.';
COMMENT ON COLUMN map_points.id IS 'The feature''s id, model/source/index.';

CREATE VIEW lists AS SELECT * REPLACE (len(features) AS features) FROM stored.lists;
COMMENT ON VIEW lists IS 'Every list of features, and how many it has; see stored.lists.';

CREATE VIEW list_features AS
    SELECT entry.dictionary || '/' || entry.feature AS id, list, position, entry.dictionary, entry.feature, entry.note
    FROM (SELECT list, unnest(range(len(features)))::INTEGER AS position, unnest(features) AS entry FROM stored.lists);
COMMENT ON VIEW list_features IS 'Every feature of every list: its position in the list from 0, and its note.';
COMMENT ON COLUMN list_features.id IS 'The feature''s id, model/source/index.';

-- A second label by the same explainer replaces its first, and a row that is removed leaves it without one.
CREATE VIEW labels AS
    SELECT dictionary || '/' || feature AS id, * EXCLUDE (removed) FROM (
        FROM stored.labels
        QUALIFY row_number() OVER (PARTITION BY dictionary, feature, explainer ORDER BY created_at DESC, label) = 1)
    WHERE removed IS NOT TRUE;
COMMENT ON VIEW labels IS 'The newest label of each explainer for each feature, see stored.labels.';
COMMENT ON COLUMN labels.id IS 'The feature''s id, model/source/index.';

CREATE VIEW votes AS
    SELECT dictionary || '/' || feature AS id, * FROM stored.votes
    QUALIFY row_number() OVER (PARTITION BY dictionary, feature, label, voter ORDER BY created_at DESC, vote) = 1;
COMMENT ON VIEW votes IS 'The newest vote of each voter on each label, see stored.votes.';
COMMENT ON COLUMN votes.id IS 'The feature''s id, model/source/index.';

CREATE VIEW scores AS
    SELECT dictionary || '/' || feature AS id, * FROM stored.scores
    QUALIFY row_number() OVER (PARTITION BY dictionary, feature, label, explainer, method, negatives, judge, prompt
                               ORDER BY created_at DESC, n DESC, value) = 1;
COMMENT ON VIEW scores IS 'The newest score of each label by each method and judge, see stored.scores.';
COMMENT ON COLUMN scores.id IS 'The feature''s id, model/source/index.';

CREATE VIEW label_votes AS
    SELECT dictionary, feature, label, sum(vote)::BIGINT AS votes FROM votes GROUP BY dictionary, feature, label;
COMMENT ON VIEW label_votes IS 'The sum of the votes on each label.';

CREATE VIEW label_scores AS
    SELECT dictionary, feature, label, avg(value) FILTER (WHERE method IN ('detection', 'fuzzing')) AS score
    FROM scores GROUP BY dictionary, feature, label;
COMMENT ON VIEW label_scores IS 'The mean of each label''s detection and fuzzing scores.';

-- The rule for the best label: the label with the largest rank is shown; among equals, the newest. A store can have its
-- own rule, any expression of these names: `featurestore label rule`. votes is the sum of the votes, 0 without any;
-- score is that of label_scores, null without one; imported is true or false.
-- Labels with a negative sum of votes come last. A label that a person gave here comes before imported ones, these
-- before a language model's, and that before one of token statistics. Then votes decide, then the score.
CREATE MACRO label_rank(label, explainer, prompt, examples, votes, score, created_at, imported) AS
    [CASE WHEN votes < 0 THEN 0 ELSE 1 END,
     CASE WHEN imported THEN 2
          WHEN explainer = 'human' OR starts_with(explainer, 'human:') THEN 3
          WHEN explainer = 'tokens' THEN 0 ELSE 1 END,
     votes,
     coalesce(score, 0.5)];

CREATE VIEW best_labels AS
    SELECT dictionary || '/' || feature AS id, dictionary, feature, best.* FROM (
        SELECT dictionary, feature,
               arg_max({'label': label, 'explainer': explainer, 'prompt': prompt, 'examples': examples,
                        'tokens_in': tokens_in, 'tokens_out': tokens_out, 'money': money, 'imported': imported,
                        'tool': tool, 'created_at': created_at},
                       {'ranked': rank IS NOT NULL, 'rank': rank, 'at': created_at, 'explainer': explainer,
                        'label': label}) AS best
        FROM (SELECT l.*, label_rank(l.label, l.explainer, l.prompt, l.examples, coalesce(v.votes, 0), s.score,
                                     l.created_at, l.imported IS TRUE) AS rank
              FROM (SELECT dictionary, feature, explainer, newest.*
                    FROM (SELECT dictionary, feature, explainer,
                                 arg_min({'label': label, 'prompt': prompt, 'examples': examples,
                                          'tokens_in': tokens_in, 'tokens_out': tokens_out, 'money': money,
                                          'imported': imported, 'removed': removed, 'tool': tool,
                                          'created_at': created_at},
                                         {'at': -epoch_us(created_at), 'label': label}) AS newest
                          FROM stored.labels GROUP BY dictionary, feature, explainer)) l
              LEFT JOIN label_votes v ON v.dictionary = l.dictionary AND v.feature = l.feature AND v.label = l.label
              LEFT JOIN label_scores s ON s.dictionary = l.dictionary AND s.feature = l.feature AND s.label = l.label
              WHERE l.removed IS NOT TRUE)
        GROUP BY dictionary, feature);
COMMENT ON VIEW best_labels IS 'The one label shown for each feature, by the rule label_rank.';
COMMENT ON COLUMN best_labels.id IS 'The feature''s id, model/source/index.';

-- The rule for structural features: those that fire by where a token stands or which token it is, not by what a text
-- means. A store can have its own, any expression of these names: `featurestore structural`. A feature is one if it
-- fired on 5 tokens at least, and half of them begin a context, or four fifths follow the end of a line or a sentence,
-- or, of 20 at least, nearly all are the same token. Of features whose shares are not known the flag is null.
CREATE MACRO structural_rule(first_token_share, after_break_share, top_token_share, distinct_tokens, active_tokens,
                             active_contexts, density) AS
    active_tokens >= 5 AND (first_token_share >= 0.5 OR after_break_share >= 0.8)
    OR active_tokens >= 20 AND top_token_share >= 0.95;

-- Both left joins are grouped by their key: DuckDB then drops them from queries that use none of their columns.
CREATE VIEW features AS
    SELECT f.dictionary || '/' || f.feature AS id, f.label, f.* EXCLUDE (label),
           d.model, d.source, d.layer, d.site, d.kind,
           f.explainer IS NOT NULL AS has_label,  -- the same as for f.label, and less to read
           CASE WHEN f.active_tokens IS NULL AND f.density IS NULL THEN 'unharvested'
                WHEN coalesce(f.active_tokens, f.density) = 0 THEN 'dead'
                WHEN f.density > 0.2 THEN 'always-on'
                ELSE 'live' END AS state,
           CASE WHEN f.distinct_tokens IS NOT NULL
                THEN coalesce(structural_rule(f.first_token_share, f.after_break_share, f.top_token_share,
                                              f.distinct_tokens, f.active_tokens, f.active_contexts, f.density), false)
                END AS structural
    FROM (FROM stored.labelled_features
          UNION ALL
          SELECT u.* REPLACE (b.label AS label, b.explainer AS explainer)
          FROM stored.unlabelled_features u
          LEFT JOIN best_labels b ON b.dictionary = u.dictionary AND b.feature = u.feature) f
    LEFT JOIN (SELECT dictionary, any_value(model) AS model, any_value(source) AS source, any_value(layer) AS layer,
                      any_value(site) AS site, any_value(kind) AS kind
               FROM stored.dictionaries GROUP BY dictionary) d ON d.dictionary = f.dictionary;
COMMENT ON VIEW features IS
    'Every feature with its dictionary''s model, source, layer, site and kind, its best label, its state '
    '(live, dead, always-on with a density above 0.2, or unharvested), and whether it is structural, by the rule '
    'structural_rule; null if not known.';
COMMENT ON COLUMN features.id IS 'The feature''s id, model/source/index.';

CREATE VIEW label_coverage AS
    SELECT d.dictionary, d.d_sae AS features, c.explainer, coalesce(c.labelled, 0) AS labelled,
           coalesce(c.labelled, 0) / d.d_sae AS share
    FROM (SELECT dictionary, any_value(d_sae) AS d_sae FROM stored.dictionaries GROUP BY dictionary) d
    LEFT JOIN (SELECT dictionary, explainer, count(*) AS labelled
               FROM features WHERE explainer IS NOT NULL GROUP BY dictionary, explainer) c
        ON c.dictionary = d.dictionary;
COMMENT ON VIEW label_coverage IS
    'For each dictionary and each explainer, the number and share of features whose shown label is by it; '
    'a dictionary without labels has one row, without an explainer.';

-- A window is inside one run of 512 tokens, or begins in one and ends in the next.
-- A hash join would copy the whole vocabulary for each row. A join by a condition that is no plain equality refers to
-- it, and as a left join it stays above the others.
CREATE VIEW examples AS
    SELECT e.dictionary || '/' || e.feature AS id, e.* EXCLUDE (tokenizer, places),
           list_select(z.pieces, e.places) AS tokens
    FROM (
        SELECT e.*, d.held_out, d.tokenizer,
               list_transform((a.tokens || coalesce(b.tokens, []))[e.start % 512 + 1 : e.start % 512 + e.length],
                              lambda t: t::BIGINT + 1) AS places
        FROM stored.examples e
        JOIN stored.documents d ON d.corpus = e.corpus AND d.document = e.document
        JOIN stored.tokens a ON a.corpus = e.corpus AND a.document = e.document AND a.run = e.start // 512
        LEFT JOIN stored.tokens b
            ON b.corpus = e.corpus AND b.document = e.document AND b.run = e.start // 512 + 1) e
    LEFT JOIN stored.tokenizers z ON coalesce(z.tokenizer = e.tokenizer, false);
COMMENT ON VIEW examples IS 'Every example with the text of its tokens; stored.examples is faster, without the text.';
COMMENT ON COLUMN examples.id IS 'The feature''s id, model/source/index.';
