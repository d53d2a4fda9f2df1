"""Weight quantization during training: prepare puts fake quantizers in, strip takes them out again."""
