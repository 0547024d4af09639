"""How stored tensors are read folded, and products and gradients that keep and move less."""
