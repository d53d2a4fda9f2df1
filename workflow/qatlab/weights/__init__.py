"""Weight quantization: fake quantizers in training, conversion by torchao, and the layers that a scheme selects."""
