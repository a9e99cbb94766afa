"""Random programs run on two implementations of Deferred, compared step by step."""
