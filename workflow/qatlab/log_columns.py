"""Prefixes of the columns of a training's log for each output precision; the name of the precision follows the prefix."""

LOSS = "loss_"  # loss term of the precision, before it is weighted
WEIGHT = "weight_"  # weight of the term
CHANGED = "changed_"  # share of embedding values that quantization changed
SCALE = "scale_"  # scale of similarities, if it is trained
GRADIENT_RATIO = (
    "gradient_ratio_"  # norm of the gradient at the embeddings over that of the float32 term, before weights
)
GRADIENT_COSINE = "gradient_cosine_"  # cosine between these two gradients
