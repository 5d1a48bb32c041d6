"""The programs' doors: one module for each family of routes. A new module is one more name in ROUTES."""

from featurestore.web.api import batches, graphs, jobs, labels, questions, v1

# Each makes the Routes of its module over a store.
ROUTES = (v1.routes, batches.routes, labels.routes, questions.routes, graphs.routes, jobs.routes)
