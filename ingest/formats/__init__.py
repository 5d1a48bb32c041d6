"""What exists elsewhere, read into the store and written from it: labels, dashboards, caches and feature stores.

Readers (`readers/`, one module a format) turn files into batches of rows; `import_run` brings batches into a store;
writers (`writers/`) turn a store's rows into files of other tools. The words of other tools (neuron, latent, quantile)
appear here and nowhere else. They know nothing of models, weights and texts beyond what the files say.
"""
