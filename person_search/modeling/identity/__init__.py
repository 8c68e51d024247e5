from . import oim, simsiam, softmax, triplet  # noqa: F401  (registers the heads)
