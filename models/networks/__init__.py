"""The networks of a model: transforms, hyperprior, context steps; and the whole model with its rate and distortion."""
