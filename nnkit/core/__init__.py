"""The contracts of the parts: what a layer, an activation, a loss, an optimizer has to say of itself."""
