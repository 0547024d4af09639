"""Methods whose tensors HF PEFT makes: one class each, on PEFT's own layers."""
