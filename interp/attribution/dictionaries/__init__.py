"""Dictionaries inside the linear map: latents and errors as components that write and read."""
