"""Hand a trained model over: merge and card (`merge`), GGUF (`gguf`), servers (`serving`)."""
