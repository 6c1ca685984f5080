"""Dictionaries inside the linear map: latents and what they leave over as components that write and are taken back."""
