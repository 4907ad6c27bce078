"""The components of an account of memory, in the order in which they are drawn."""

WEIGHTS = "weights"
CONSTANTS = "quantization constants"
ADAPTERS = "adapters"
GRADIENTS = "gradients"
STATES = "optimizer states"
COPIES = "autocast copies"
ACTIVATIONS = "activations"
HEAD = "logits and loss"
BUFFERS = "temporary buffers"
# What each is, for people.
MEANINGS = {
    WEIGHTS: "the base model, as it is stored during training",
    CONSTANTS: "scales that bitsandbytes keeps beside 4-bit codes",
    ADAPTERS: "the LoRA matrices",
    GRADIENTS: "one number for each weight that trains",
    STATES: "AdamW's two moments for each weight that trains",
    COPIES: "weights once more, in autocast's dtype",
    ACTIVATIONS: "what layers keep, or recompute, for the backward pass",
    HEAD: "tiles of logits and what the loss makes of them",
    BUFFERS: "gradients of activations, restored 4-bit weights, and what an operation needs inside",
}
COMPONENTS = tuple(MEANINGS)
# The parts of a step, as the tracker names them and in words.
PLACES = {
    "embedding": "the embedding",
    "forward": "the forward pass",
    "head": "the loss head",
    "norm": "the last norm",
    "backward": "the backward pass",
    "clipping": "gradient clipping",
    "optimizer": "the optimizer step",
}
