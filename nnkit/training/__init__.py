"""Fitting: data, the loop over epochs, callbacks, history."""
