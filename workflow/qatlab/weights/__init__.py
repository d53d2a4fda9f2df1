"""Weight quantization: fake quantizers in training, conversion with torchao, and the selection of layers by a scheme."""
