"""How much is lost by following the advice of `strategy=auto`, over tasks that were named before it was judged."""
