"""What every store can be asked and told, local or remote. It knows nothing of how a store answers."""

from featurestore.interface.feature_store import FeatureStore

__all__ = ["FeatureStore"]
