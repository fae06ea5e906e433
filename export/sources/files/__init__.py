"""Files of tensors and tokenizers, read with every size checked before it is believed."""
