from . import oim, simsiam, softmax, toim, triplet  # noqa: F401  (registers the heads)
