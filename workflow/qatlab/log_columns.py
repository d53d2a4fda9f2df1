"""Names of the columns that a training's log has for each output precision; the precision's name follows."""

LOSS = "loss_"  # before its weight
WEIGHT = "weight_"
CHANGED = "changed_"  # share of embedding values that the grid changed
SCALE = "scale_"  # of similarities, where it is trained
GRADIENT_RATIO = "gradient_ratio_"  # norm of the gradient at the embeddings over the float32 term's, before weights
GRADIENT_COSINE = "gradient_cosine_"  # cosine between the two
