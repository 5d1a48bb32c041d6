"""The models and weights that the user has named: a store that names the same may have them opened."""

from featurestore.storage.user_files import remember_locations as remember_locations
