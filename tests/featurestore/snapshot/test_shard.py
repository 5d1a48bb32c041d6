"""The files of a feature, against a scan of all parts."""

from featurestore.snapshot.shard import Shard, Shards
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.values.feature import FeatureId


def part(table, key, shard):
    return Part(file=f"{table}/{key}/{shard}", table=table, key=key, shard=shard, rows=1, bytes=1, sha256="")


PARTS = [
    part(table, key, shard)
    for table in (*Shard._fields, "labels", "votes")
    for key in ("m/a", "m/b")
    for shard in range(3)
    if (table, key, shard) not in {("label_rows", "m/a", 1), ("feature_rows", "m/b", 0)}
]


def test_a_shard_has_the_parts_of_its_features():
    shards = Shards(Snapshot(1, {part.file: part for part in PARTS}))
    for key in ("m/a", "m/b"):
        for feature in (0, 5, SHARD_FEATURES - 1, SHARD_FEATURES, 2 * SHARD_FEATURES + 7):
            shard = shards.of(FeatureId(key, feature))
            assert shard == shards.at(key, feature)
            for table, file in shard._asdict().items():
                place = (table, key, feature // SHARD_FEATURES)
                wanted = [part for part in PARTS if part.place == place]
                assert [file] == (wanted or [None])


def test_what_the_store_lacks_has_an_empty_shard():
    shards = Shards(Snapshot(1, {part.file: part for part in PARTS}))
    assert shards.at("m/a", 3 * SHARD_FEATURES) == Shard()
    assert shards.at("m/none", 0) == Shard()
