"""Public benchmarks of a model beside its base."""
