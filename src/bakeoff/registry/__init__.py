"""What could be served: bundles in the model registry, each from a run that fulfils the logging contract."""
