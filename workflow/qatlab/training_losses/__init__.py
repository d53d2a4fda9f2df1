"""Losses that a method chooses by name and trains embedding models with, before quantization is added to them."""
