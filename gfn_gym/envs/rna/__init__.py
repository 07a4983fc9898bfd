"""RNA that binds and RNA that folds, judged by ViennaRNA."""

try:
    import RNA  # noqa: F401
except ImportError as error:
    raise ImportError("RNA needs ViennaRNA: pip install 'gfn-gym[rna]'") from error
