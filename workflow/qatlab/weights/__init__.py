"""Weight quantization: fake quantizers in training, and the selection of layers by a scheme."""
